"""A release as `make dist` makes it, and the installed wheel in an empty directory, without the repository."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.processes.parties import SCRIPTS, Party
from tests.support.slots import slot

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
RUN = "import fl_app, sys; sys.stderr.write(fl_app.__file__ + '\\n'); from fl_app.cli import main; main()"


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that `make dist` leaves in a copy of the project, which has these tests' environment.

    Where these tests run in several processes, the first one makes it for all.
    """
    place = tmp_path_factory.getbasetemp()
    place = (place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) / "release"
    with slot("release", 1):
        if not (done := place / "done").exists():
            project = copy_of_the_project(place)
            environment = SCRIPTS.parent
            make = ["make", "-o", f"{environment}/.ready", f"VENV={environment}", "dist"]
            made = subprocess.run(make, cwd=project, capture_output=True, text=True, timeout=500)
            assert made.returncode == 0, made.stdout + made.stderr
            done.touch()
    return place / "project" / "dist"


def test_a_release_has_a_wheel_a_source_distribution_a_bill_of_materials_and_checksums(dist: Path) -> None:
    name = f"fl_app-{PROJECT['project']['version']}"
    files = {f"{name}-py3-none-any.whl", f"{name}.tar.gz", "fl-app.cdx.json"}
    assert {path.name for path in dist.iterdir()} == {*files, "SHA256SUMS"}
    sums = dict(reversed(line.split("  ")) for line in (dist / "SHA256SUMS").read_text().splitlines())
    assert sums == {file: hashlib.sha256((dist / file).read_bytes()).hexdigest() for file in files}


def test_the_wheel_has_every_package_and_its_data_and_nothing_else(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        names = {name for name in content.namelist() if ".dist-info/" not in name}
    setuptools = PROJECT["tool"]["setuptools"]
    expected = {f"{package.replace('.', '/')}/*.py" for package in setuptools["packages"]}
    expected |= {
        f"{package.replace('.', '/')}/{pattern}"
        for package, patterns in setuptools["package-data"].items()
        for pattern in patterns
    }
    assert names == {
        path.relative_to(ROOT).as_posix() for pattern in expected for path in ROOT.glob(pattern) if path.is_file()
    }
    tops = {"fl_app", "client", "server", "strategies"}
    assert {name for name in names if name.endswith(".py")} == {
        path.relative_to(ROOT).as_posix() for top in tops for path in (ROOT / top).rglob("*.py")
    }


def test_the_source_distribution_has_the_pages_and_the_same_packages(dist: Path) -> None:
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as content:
        names = {name.partition("/")[2] for name in content.getnames()}
    assert {"README.md", "LICENSE", "SECURITY.md", "CHANGELOG.md", "pyproject.toml", "docs/index.md"} <= names
    assert {"fl_app/py.typed", "fl_app/demo/data/SOURCE.md", "server/app/main.py", "client/app/main.py"} <= names


def test_the_bill_of_materials_names_what_an_installation_runs_and_no_tool_of_developers(dist: Path) -> None:
    bill = json.loads((dist / "fl-app.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    root = bill["metadata"]["component"]
    assert (root["name"], root["version"]) == ("fl-app", PROJECT["project"]["version"])
    parts = {canonicalize_name(part["name"]): part["version"] for part in bill["components"]}
    needed = {canonicalize_name(Requirement(text).name) for text in PROJECT["project"]["dependencies"]}
    assert needed <= parts.keys()
    assert all(parts.values())
    assert not {"pytest", "ruff", "mypy", "sphinx", "hypothesis", "cyclonedx-bom"} & parts.keys()
    references = {part["bom-ref"] for part in bill["components"]} | {root["bom-ref"]}
    assert all({entry["ref"], *entry.get("dependsOn", ())} <= references for entry in bill["dependencies"])


@pytest.mark.simulation
def test_the_demonstration_runs_from_the_wheel(dist: Path, tmp_path: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    installed = tmp_path / "installed"
    shutil.unpack_archive(wheel, installed, "zip")
    assert not list(installed.glob("tests*"))
    user = Party(tmp_path / "user", {"PYTHONPATH": str(installed)})
    done = subprocess.run(
        [sys.executable, "-P", "-c", RUN, "demo", "--rounds", "1", "--local-steps", "20", "--json"],
        cwd=user.directory,
        env=user.environment,
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(str(installed))
    results = json.loads(done.stdout)
    assert results["status"] == "completed"
    assert results["test"]["auc"] > 0.8
    assert sorted(path.name for path in user.directory.iterdir() if path.name != ".cache") == [".fl-app", "runs"]


def copy_of_the_project(parent: Path) -> Path:
    """Return a copy of what git tracks, so that building leaves nothing in the repository."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    copy = parent / "project"
    for name in listed.stdout.splitlines():
        source, target = ROOT / name, copy / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    return copy
