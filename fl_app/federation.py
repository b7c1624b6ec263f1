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

import hashlib
import ipaddress
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from cryptography.x509 import load_pem_x509_certificates
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from fl_app.census.prepare import prepare
from fl_app.datasources import CSVOptions
from fl_app.errors import UsageError
from fl_app.files import absolute, replace_file
from fl_app.home import fl_app_home
from fl_app.pods import PodName
from fl_app.problems import Location, Problem, dotted, explain, refusal, unknown

FILE_NAME = "fl-app.toml"
VARIABLE = "FL_APP_FEDERATION"
CENSUS = "census"
_TOP = ("default", "federation")


def _from_here(path: Path, info: ValidationInfo) -> Path:
    """Return ``path`` as seen from the directory of the toml file, the context of its validation."""
    return absolute(path, info.context or Path.cwd())


def _certificates(given: Any) -> Any:
    """Return the file of the certificates: where they are given as text, a file of that content in the owner's home."""
    if not isinstance(given, str) or not given.lstrip().startswith("-----BEGIN"):
        return given
    text = given.strip() + "\n"
    try:
        load_pem_x509_certificates(text.encode())
    except ValueError:
        raise ValueError("is neither the path of a file nor the text (PEM) of a certificate") from None
    path = fl_app_home() / "certificates" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.pem"
    try:
        if not path.exists() or path.read_text("utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, text.encode())
    except OSError as error:
        raise ValueError(f"cannot be kept in {path}: {error.strerror}") from None
    return path


def checked_address(superlink: str) -> str:
    """Return ``host:port`` as it is; raises ValueError if it is none."""
    host, _, port = superlink.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("must be host:port, such as fl.example.org:8123 or 127.0.0.1:8123")
    return superlink


def is_loopback(superlink: str) -> bool:
    """Say whether ``host:port`` is on this machine."""
    host = superlink.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


_LocalPath = Annotated[Path, AfterValidator(_from_here)]
_Certificates = Annotated[_LocalPath, BeforeValidator(_certificates)]


class _Federation(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, SkipJsonSchema()]  # the table's head, not a key in it
    source: Annotated[str, SkipJsonSchema()]  # file and name, as find_federation takes them
    test_file: _LocalPath | None = None
    test_target: str | None = None
    test_read_options: CSVOptions = {}


class SimulatedFederation(_Federation):
    """Pods that all run on this machine; ``pods`` are their files, ``home`` holds their keys. Paths are absolute."""

    kind: Literal["simulation"]
    pods: Annotated[tuple[_LocalPath, ...], Field(min_length=1)]
    home: _LocalPath = Field(default_factory=fl_app_home)


class DeployedFederation(_Federation):
    """Pods that connect to the SuperLink at ``superlink`` (``host:port``); ``pods`` are names, perhaps none.

    ``root_certificates`` may be given as a path or as text, and is a path in either case.
    """

    kind: Literal["deployment"]
    superlink: Annotated[str, AfterValidator(checked_address)]
    insecure: Annotated[bool, Field(strict=True)] = False
    root_certificates: _Certificates | None = None
    pods: tuple[PodName, ...] = ()

    @model_validator(mode="after")
    def _encrypted_over_a_network(self) -> Self:
        if self.insecure and self.root_certificates:
            raise ValueError("insecure = true and root_certificates exclude each other")
        if self.insecure and not is_loopback(self.superlink):
            raise ValueError(
                f"insecure = true is for a SuperLink on this machine, not {self.superlink}: "
                "leave it out, and give root_certificates if the SuperLink's certificate is your own"
            )
        return self


Federation = SimulatedFederation | DeployedFederation
_ANY: TypeAdapter[Federation] = TypeAdapter(Annotated[Federation, Field(discriminator="kind")])


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
        federation = _ANY.validate_python(
            {**given, "name": name, "source": f"{path.resolve()}#{name}"}, context=path.parent
        )
    except ValidationError as error:
        # The first step of a location is the kind that was chosen, if the kind was right.
        problems += [(place[1:], text) for place, text in explain(error, _ANY.json_schema())]
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
