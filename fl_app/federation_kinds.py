"""What a federation is: pods that all run on this machine, or pods that connect to a SuperLink."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.json_schema import SkipJsonSchema

from fl_app.datasources import CSVOptions
from fl_app.errors import UsageError
from fl_app.federation_fields import Address, Certificates, LocalPath, is_loopback
from fl_app.home import fl_app_home
from fl_app.kept_federation import keep_pod, keep_table
from fl_app.keys import keygen
from fl_app.pods import Pod, PodName, load_pod
from fl_app.problems import dotted, explain


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
            Where their keys and ledgers are kept; None: `fl_app_home`.
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
        files = [str(keep_pod(pod) if isinstance(pod, Pod) else pod) for pod in pods]
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
        from fl_app.federation import find_federation  # which reads federations of these kinds

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


def _made(kind: type[_Kind], name: str, given: Mapping[str, Any]) -> _Kind:
    """Return a federation of this kind, kept where the processes of a run find it."""
    said = {key: value for key, value in given.items() if value is not None}
    try:
        checked = kind.model_validate({**said, "name": name, "source": ""})
    except ValidationError as error:
        problems = [f"{dotted(place)}: {text}".lstrip(": ") for place, text in explain(error, kind.model_json_schema())]
        raise UsageError(f"Federation.{said['kind']}: {'; '.join(problems)}") from None
    names = checked.pod_identifiers
    if len(set(names)) != len(names):
        raise UsageError(f"Federation.{said['kind']}: two pods have one name: {', '.join(names)}")
    table = checked.model_dump(mode="json", exclude={"name", "source"})
    kept = keep_table(name, {key: value for key, value in table.items() if value is not None})
    return checked.model_copy(update={"source": kept})
