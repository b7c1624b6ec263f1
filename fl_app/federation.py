"""Which pods there are and how they are reached: ``fl-app.toml``.

::

    default = "demo"

    [federation.demo]                       # every pod on this machine
    kind = "simulation"
    pods = ["pods/a.yaml", "pods/b.py"]     # paths are relative to this file
    home = ".fl-app"                        # keys and ledgers; left out: the owner's own
    test_file = "test.csv"                  # the modeller's own rows, optional
    test_target = "income"
    test_read_options = { sep = ";" }       # as in a pod's datasource

    [federation.hospitals]                  # pods that connect to a SuperLink
    kind = "deployment"
    superlink = "fl.example.org:8123"
    root_certificates = "ca.pem"            # or the text of one; or insecure = true, on this machine only
    pods = ["hospital-a", "hospital-b"]
"""

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fl_app.census.prepare import prepare
from fl_app.errors import UsageError
from fl_app.federation_kinds import ANY_KIND, DeployedFederation, Federation, SimulatedFederation
from fl_app.files import absolute
from fl_app.home import fl_app_home
from fl_app.problems import Location, Problem, dotted, explain, refusal, unknown

__all__ = [
    "CENSUS",
    "FILE_NAME",
    "VARIABLE",
    "DeployedFederation",
    "Federation",
    "SimulatedFederation",
    "census_federation",
    "find_federation",
    "read_federation",
]

FILE_NAME = "fl-app.toml"
VARIABLE = "FL_APP_FEDERATION"
CENSUS = "census"
_TOP = ("default", "federation")


def find_federation(name: str | None, directory: Path) -> Federation:
    """Return the federation that was asked for, or else the nearest one.

    Parameters
    ----------
    name
        What ``--federation`` says: a name in ``directory``'s fl-app.toml, or a toml file, perhaps with ``#NAME``.
        None: what the variable FL_APP_FEDERATION says, in the same form; without it, the default of the
        fl-app.toml in ``directory``; without that, the packaged census demo (whose name is "census").
    directory
        Where fl-app.toml is looked for, and what a relative path in ``name`` is relative to.

    Raises
    ------
    UsageError
        If there is no such federation, or its file is wrong.
    """
    asked = name or os.environ.get(VARIABLE)
    nearest = directory / FILE_NAME
    if not asked:
        return read_federation(nearest) if nearest.exists() else census_federation()
    file, _, part = asked.partition("#")
    if file.endswith(".toml"):
        return read_federation(absolute(file, directory), part or None)
    if asked == CENSUS and not (nearest.exists() and CENSUS in _read(nearest)[1]):
        return census_federation()
    if not nearest.exists():
        raise UsageError(
            f"federation '{asked}': there is no {FILE_NAME} in {directory}; "
            f"give the path of a toml file, or '{CENSUS}' for the demonstration"
        )
    return read_federation(nearest, asked)


def census_federation(home: Path | None = None) -> SimulatedFederation:
    """Return the packaged demonstration, two census pods in simulation, made ready under ``home``."""
    federation = read_federation(prepare(home or fl_app_home()) / FILE_NAME, CENSUS)
    if not isinstance(federation, SimulatedFederation):
        raise UsageError(f"federation '{CENSUS}': the demonstration is a simulation")
    return federation


def read_federation(path: Path, name: str | None = None) -> Federation:
    """Read federation ``name`` from the toml file ``path``; None means its ``default``, or its only one.

    Raises
    ------
    UsageError
        If the file is wrong, with every problem found and its key, or has no such federation.
    """
    default, tables = _read(path)
    name = name or default or (next(iter(tables)) if len(tables) == 1 else None)
    if name is None:
        raise UsageError(f'{path}: give `default = "NAME"` at its top, or choose one of {", ".join(tables)}')
    if name not in tables:
        raise UsageError(f"{path}: federation '{name}': {unknown(name, tables, 'federation')}")
    given = tables[name]
    problems: list[tuple[Location, str]] = []
    for key in {"name", "source"} & given.keys():
        problems.append(((key,), "unknown key, the name stands in the table's head"))
    try:
        federation = ANY_KIND.validate_python(
            {**given, "name": name, "source": f"{path.resolve()}#{name}"}, context=path.parent
        )
    except ValidationError as error:
        # The first step of a location is the kind that was chosen, if the kind was right.
        problems += [(place[1:], text) for place, text in explain(error, ANY_KIND.json_schema())]
    if problems:
        raise refusal(path, [Problem(0, dotted(("federation", name, *place)), text) for place, text in problems])
    return federation


def _read(path: Path) -> tuple[str | None, dict[str, dict[str, Any]]]:
    """Return the default and the tables of the toml file ``path``; the tables are not looked into yet."""
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from error
    problems = [Problem(0, key, unknown(key, _TOP)) for key in content if key not in _TOP]
    default: Any = content.get("default")
    tables: Any = content.get("federation")
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        problems.append(Problem(0, "federation", "must hold tables, each headed [federation.NAME]"))
    elif default is not None and default not in list(tables):  # a list: default may be of any type here
        problems.append(Problem(0, "default", f"{default!r} is an {unknown(default, tables, 'federation')}"))
    if problems:
        raise refusal(path, problems)
    return default, tables
