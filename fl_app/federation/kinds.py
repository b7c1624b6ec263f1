"""What a federation is: pods that all run on this machine, or pods that connect to a SuperLink."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.json_schema import SkipJsonSchema

from fl_app.demo.census import prepare
from fl_app.errors import UsageError
from fl_app.federation.address import Address, Certificates, LocalPath, certificates_text, is_loopback
from fl_app.federation.config_file import CENSUS, FILE_NAME, Entry, locate, read_entry
from fl_app.federation.saved import save_certificates, save_federation, save_pod
from fl_app.identity.known_pods import keygen
from fl_app.pod.definition import Pod, PodName
from fl_app.pod.pod_file import load_pod
from fl_app.system.home import fl_app_home
from fl_app.tabular.read_options import CSVOptions
from fl_app.validation import Location, Problem, dotted, explain, refusal


class Federation(BaseModel):
    """Which pods there are and how they are reached: all on this machine, or through a SuperLink.

    Made by `simulation`, `deployment` or `load`; whatever takes a federation takes either kind, so that one line moves
    a notebook from a laptop to hospitals.

    Attributes
    ----------
    name : str
        What it is called.
    kind : str
        "simulation" or "deployment".
    source : str
        File and name under which the processes of a run find it.
    test_file, test_target, test_read_options
        The modeller's own rows on which every round is scored, their label, and how the file is read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, SkipJsonSchema()]  # the table's head, not a key in it
    source: Annotated[str, SkipJsonSchema()]
    kind: str
    test_file: LocalPath | None = None
    test_target: str | None = None
    test_read_options: CSVOptions = {}

    @staticmethod
    def simulation(
        pods: Sequence[str | Path | Pod],
        *,
        name: str = "simulation",
        home: str | Path | None = None,
        test_file: str | Path | None = None,
        test_target: str | None = None,
        test_read_options: Mapping[str, Any] | None = None,
    ) -> "SimulatedFederation":
        """Return a federation whose pods all run on this machine. A pod that has no key yet gets one in ``home``.

        Parameters
        ----------
        pods
            Their files (``.yaml``, ``.py``), or pods made in Python. A relative path is seen from the working
            directory.
        home
            Directory of their keys and ledgers; None: `fl_app_home`.
        test_file, test_target, test_read_options
            See `Federation`.

        Raises
        ------
        UsageError
            If a pod's file or an argument is wrong, or two pods have one name.

        Examples
        --------
        >>> Federation.simulation(["north.yaml", "south.py"])  # doctest: +SKIP
        <Federation 'simulation': simulation of north.yaml, south.py>
        """
        files = [str(save_pod(pod) if isinstance(pod, Pod) else pod) for pod in pods]
        tests = {"test_file": test_file, "test_target": test_target, "test_read_options": test_read_options}
        made = _made(SimulatedFederation, name, {"kind": "simulation", "pods": files, "home": home, **tests})
        for pod in made.pod_identifiers:
            keygen(pod, made.home)
        return made

    @staticmethod
    def deployment(
        superlink: str,
        pods: Sequence[str] = (),
        *,
        name: str | None = None,
        root_certificates: str | Path | None = None,
        insecure: bool = False,
        test_file: str | Path | None = None,
        test_target: str | None = None,
        test_read_options: Mapping[str, Any] | None = None,
    ) -> "DeployedFederation":
        """Return the federation of pods that connect to a SuperLink.

        Parameters
        ----------
        superlink
            Its address, ``host:port``.
        pods
            Names of the pods that take part where none are named; perhaps none.
        name
            None: the address.
        root_certificates
            Certificates to check the SuperLink's by, as a path or as text (PEM); None: the system's.
        insecure
            No encryption; on this machine only.
        test_file, test_target, test_read_options
            See `Federation`.

        Raises
        ------
        UsageError
            If an argument is wrong.

        Examples
        --------
        >>> Federation.deployment("fl.example.org:8123", ["north", "south"])  # doctest: +SKIP
        <Federation 'fl.example.org:8123': SuperLink fl.example.org:8123, pods north, south>
        """
        reached = {"superlink": superlink, "root_certificates": root_certificates, "insecure": insecure}
        tests = {"test_file": test_file, "test_target": test_target, "test_read_options": test_read_options}
        given = {"kind": "deployment", "pods": list(pods), **reached, **tests}
        return _made(DeployedFederation, superlink if name is None else name, given)

    @staticmethod
    def load(name: str | None = None) -> "Federation":
        """Return the federation ``name`` of the working directory's fl-app.toml, or the nearest; see `find_federation`.

        Raises
        ------
        UsageError
            If there is no such federation, or its file is wrong.
        """
        return find_federation(name, Path.cwd())

    @property
    @abstractmethod
    def pod_identifiers(self) -> tuple[str, ...]:
        """Names of its pods; of a deployment, those that were given."""

    def __str__(self) -> str:
        return repr(self)


class SimulatedFederation(Federation):
    """Pods that all run on this machine; ``pods`` are their files, ``home`` holds their keys. Paths are absolute."""

    kind: Literal["simulation"]
    pods: Annotated[tuple[LocalPath, ...], Field(min_length=1)]
    home: LocalPath = Field(default_factory=fl_app_home)

    @property
    def pod_identifiers(self) -> tuple[str, ...]:
        """Names of its pods, as their files give them."""
        return tuple(load_pod(path).name for path in self.pods)

    def __repr__(self) -> str:
        return f"<Federation '{self.name}': simulation of {', '.join(path.name for path in self.pods)}>"


class DeployedFederation(Federation):
    """Pods that connect to the SuperLink at ``superlink`` (``host:port``); ``pods`` are names, perhaps none.

    ``root_certificates`` may be given as a path or as text, and is a path in either case.
    """

    kind: Literal["deployment"]
    superlink: Address
    insecure: Annotated[bool, Field(strict=True)] = False
    root_certificates: Certificates | None = None
    pods: tuple[PodName, ...] = ()

    @property
    def pod_identifiers(self) -> tuple[str, ...]:
        """Names of its pods, as they were given."""
        return self.pods

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

    def __repr__(self) -> str:
        pods = f"pods {', '.join(self.pods)}" if self.pods else "whichever pods are connected"
        return f"<Federation '{self.name}': SuperLink {self.superlink}, {pods}>"


_Kind = TypeVar("_Kind", bound=Federation)
ANY_KIND: TypeAdapter[SimulatedFederation | DeployedFederation] = TypeAdapter(
    Annotated[SimulatedFederation | DeployedFederation, Field(discriminator="kind")]
)


def _made(kind: type[_Kind], name: str, arguments: Mapping[str, Any]) -> _Kind:
    """Return a federation of this kind, saved where the processes of a run find it."""
    given = {key: value for key, value in arguments.items() if value is not None}
    try:
        federation = kind.model_validate({**given, "name": name, "source": ""})
    except ValidationError as error:
        problems = [f"{dotted(place)}: {text}".lstrip(": ") for place, text in explain(error, kind.model_json_schema())]
        raise UsageError(f"Federation.{given['kind']}: {'; '.join(problems)}") from None
    names = federation.pod_identifiers
    if len(set(names)) != len(names):
        raise UsageError(f"Federation.{given['kind']}: two pods have one name: {', '.join(names)}")
    _save_certificates_of(given)
    table = federation.model_dump(mode="json", exclude={"name", "source"})
    source = save_federation(name, {key: value for key, value in table.items() if value is not None})
    return federation.model_copy(update={"source": source})


def _save_certificates_of(table: Mapping[str, Any]) -> None:
    """Write the certificates that a valid table gives as text to the file to which its federation refers."""
    if text := certificates_text(table.get("root_certificates")):
        save_certificates(text)


def find_federation(name: str | None, directory: Path) -> Federation:
    """Return the chosen federation, or else the nearest one.

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
    entry = locate(name, directory)
    return census_federation() if entry is None else _checked(entry)


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
    return _checked(read_entry(path, name))


def _checked(entry: Entry) -> Federation:
    """Return the federation that ``entry`` describes; raises `UsageError` with every problem found and its key."""
    problems: list[tuple[Location, str]] = []
    for key in {"name", "source"} & entry.table.keys():
        problems.append(((key,), "unknown key, the name stands in the table's head"))
    source = f"{entry.path.resolve()}#{entry.name}"
    try:
        federation = ANY_KIND.validate_python(
            {**entry.table, "name": entry.name, "source": source}, context=entry.path.parent
        )
    except ValidationError as error:
        # The first step of a location is the kind that was chosen, if the kind was right.
        problems += [(place[1:], text) for place, text in explain(error, ANY_KIND.json_schema())]
    if problems:
        head = ("federation", entry.name)
        raise refusal(entry.path, [Problem(0, dotted((*head, *place)), text) for place, text in problems])
    _save_certificates_of(entry.table)
    return federation
