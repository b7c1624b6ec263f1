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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fl_app.errors import UsageError
from fl_app.system.files import absolute
from fl_app.validation import Problem, refusal, unknown

FILE_NAME = "fl-app.toml"
VARIABLE = "FL_APP_FEDERATION"
CENSUS = "census"
"""The packaged demonstration, where no file defines a federation of this name."""
_TOP = ("default", "federation")


@dataclass(frozen=True)
class Entry:
    """One federation as it is written: the file, its name, and its keys and values, not yet checked."""

    path: Path
    name: str
    table: dict[str, Any]


def locate(name: str | None, directory: Path) -> Entry | None:
    """Return the entry of the chosen federation, or else of the nearest one; None means the demonstration.

    Parameters
    ----------
    name, directory
        See `fl_app.federation.kinds.find_federation`.

    Raises
    ------
    UsageError
        If there is no such federation, or its file is not made of federations.
    """
    chosen = name or os.environ.get(VARIABLE)
    nearest = directory / FILE_NAME
    if not chosen:
        return read_entry(nearest) if nearest.exists() else None
    file, _, part = chosen.partition("#")
    if file.endswith(".toml"):
        return read_entry(absolute(file, directory), part or None)
    if chosen == CENSUS and not (nearest.exists() and CENSUS in _read(nearest)[1]):
        return None
    if not nearest.exists():
        raise UsageError(
            f"federation '{chosen}': there is no {FILE_NAME} in {directory}; "
            f"give the path of a toml file, or '{CENSUS}' for the demonstration"
        )
    return read_entry(nearest, chosen)


def read_entry(path: Path, name: str | None = None) -> Entry:
    """Read the entry ``name`` of the toml file ``path``; None means its ``default``, or its only one.

    Raises
    ------
    UsageError
        If the file is not made of federations, or has no such one.
    """
    default, tables = _read(path)
    name = name or default or (next(iter(tables)) if len(tables) == 1 else None)
    if name is None:
        raise UsageError(f'{path}: give `default = "NAME"` at its top, or choose one of {", ".join(tables)}')
    if name not in tables:
        raise UsageError(f"{path}: federation '{name}': {unknown(name, tables, 'federation')}")
    return Entry(path, name, tables[name])


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
