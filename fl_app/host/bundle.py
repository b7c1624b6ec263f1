"""The Flower app that a run takes along: this product's own Python files, from a checkout or from an installed wheel.

Only these files and the text below are in it, so one version gives one bundle (and one SHA-256), wherever it is made.
A run with a network of its modeller's own has that file besides, and so a bundle, and a SHA-256, of its own.
"""

import tomllib
import warnings
from importlib.metadata import version
from pathlib import Path

from fl_app.errors import RunFailed
from fl_app.tabular.network_source import BUNDLED

NAME = "fl-app"

# A wheel has no pyproject.toml. What Flower reads of ours is here again; a test holds the two together. The version is
# the one that was installed, so that pyproject.toml is the only file in which it is edited.
PYPROJECT = f"""\
[project]
name = "fl-app"
version = "{version(NAME)}"
description = "Data holders train one tabular model together; what leaves each of them is a secure sum."
license = "Apache-2.0"
dependencies = []

[[tool.uv.dependency-metadata]]
name = "fl-app"
version = "{version(NAME)}"
requires-dist = []

[tool.flwr.app]
publisher = "fl-app"
fab-include = [
    "fl_app/__init__.py",
    "fl_app/config.py",
    "fl_app/errors.py",
    "fl_app/run_plan.py",
    "fl_app/validation.py",
    "fl_app/demo/*.py",
    "fl_app/federation/*.py",
    "fl_app/flower/*.py",
    "fl_app/identity/*.py",
    "fl_app/pod/*.py",
    "fl_app/privacy/*.py",
    "fl_app/replica/*.py",
    "fl_app/secagg/*.py",
    "fl_app/system/*.py",
    "fl_app/tabular/*.py",
    "strategies/*.py",
    "client/__init__.py",
    "client/app/*.py",
    "server/__init__.py",
    "server/app/*.py",
]

[tool.flwr.app.components]
serverapp = "server.app.main:app"
clientapp = "client.app.main:app"
"""


def write_app(parent: Path) -> Path:
    """Write the app's files into a new directory under ``parent``, and return that directory."""
    app = parent / NAME  # Flower refuses an app whose directory has an underscore in its name
    app.mkdir()
    for name, content in _files().items():
        copy = app / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(content)
    return app


def build(network: bytes | None = None) -> bytes:
    """Return the Flower App Bundle of the version installed here, byte for byte what a run of it submits.

    Parameters
    ----------
    network : bytes or None
        The source of a network of the modeller's own, which owners approve with the rest.

    Raises
    ------
    RunFailed
        If the installation is not complete.
    """
    from flwr.cli.build import build_fab_from_files  # what `flwr build` and `flwr run` call, once they know the files

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a package that Flower uses in an older way
        return build_fab_from_files(_files() | ({} if network is None else {BUNDLED: network}))[0]


def _files() -> dict[str, bytes]:
    """Return the app's files, by their names in the bundle."""
    installed = Path(__file__).resolve().parents[2]
    contents = {"pyproject.toml": PYPROJECT.encode()}
    for pattern in tomllib.loads(PYPROJECT)["tool"]["flwr"]["app"]["fab-include"]:
        sources = sorted(installed.glob(pattern))
        if not sources:
            raise RunFailed(f"there is no {pattern} in this installation: install fl-app anew")
        contents |= {source.relative_to(installed).as_posix(): source.read_bytes() for source in sources}
    return contents
