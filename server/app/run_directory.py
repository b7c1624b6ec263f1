"""A run's directory: the request, the results so far, the model. A reader never sees a part of a file.

::

    runs/latest -> RUN_ID
    runs/RUN_ID/config.json        the request: `server.app.results.RunRequest`
                results.json       `server.app.results.Results`, rewritten after every step
                encoding.json      the pods' schema and how rows become arrays, once the statistics are summed
                checkpoint.npz     the arrays after the last completed round, and all else that resuming needs
                network.py         the source of a network of the modeller's own
                model.safetensors  the model, and all that is needed to load it
                model.pt           the same for torch.load(weights_only=True)
                flower.log         Flower's output
                stop               exists while the run is asked to end after the round under way; says why
                .lock              held by the process that carries the run out
"""

import errno
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from fl_app.errors import UsageError
from fl_app.federation.kinds import Federation
from fl_app.system.files import held
from server.app.document import Document
from server.app.results import Results, RunRequest

if TYPE_CHECKING:
    from fl_app.config import RunConfig

_Kind = TypeVar("_Kind", bound=Document)
RUN_DIRECTORY_VARIABLE = "FL_APP_RUN_DIR"
"""Environment variable through which the ServerApp finds the run directory that the modeller's command has made."""
LATEST = "latest"
STOP_FILE = "stop"
"""Asks the run to end after the round under way; its text says why."""
FLOWER_LOG = "flower.log"
"""File in the run directory with all that Flower and the ServerApp print."""
_DRAWS = 20
"""Names that a new run tries at most."""
MODEL_SUFFIXES = (".pt", ".safetensors", ".onnx", ".pt2")


class RunDirectory:
    """One run's files.

    Parameters
    ----------
    path : Path
        The directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, runs: Path, config: "RunConfig | None", request: RunRequest | None = None) -> Self:
        """Make a new run under ``runs`` and point ``latest`` at it.

        Parameters
        ----------
        config : RunConfig or None
            What to train; None: nothing.
        request : RunRequest or None
            All else that the modeller asks for; its ``run`` is set to ``config``.
        """
        written = config.model_dump(mode="json") if config else None
        try:
            made = cls(make_dated(runs, datetime.now(UTC)))
            made.write_request((request or RunRequest()).changed(run=written))
            link = runs / f".{LATEST}-{made.name}"
            link.symlink_to(made.name)
            link.replace(runs / LATEST)
        except OSError as error:
            raise UsageError(f"{runs}: no run directory can be made here: {error.strerror}") from error
        return made

    @classmethod
    def find(cls, given: str | Path, runs: Path = Path("runs")) -> Self:
        """Return the run ``given`` as a directory, or as a name under ``runs``.

        Raises
        ------
        UsageError
            If there is no such run.
        """
        for candidate in (Path(given), runs / given):
            if (candidate / "config.json").is_file():
                return cls(candidate.resolve())
        raise UsageError(f"{given}: no run directory (it would hold config.json); `fl-app runs` lists the runs")

    @classmethod
    def all(cls, runs: Path) -> list[Self]:
        """Return the runs under ``runs``, the newest last; raises `UsageError` if it is no directory."""
        if runs.exists() and not runs.is_dir():
            raise UsageError(f"{runs}: not a directory; give the directory that holds the runs")
        paths = sorted(path.parent for path in runs.glob("*/config.json") if not path.parent.is_symlink())
        return [cls(path.resolve()) for path in paths]

    @property
    def name(self) -> str:
        """The run's id."""
        return self.path.name

    def config(self) -> "RunConfig":
        """Return the run's settings; raises `UsageError` if it trains nothing."""
        from fl_app.config import RunConfig  # and numpy, which listing runs does without

        if not (written := self.request().run):
            raise UsageError(f"run {self.name} trains nothing: its config.json has no settings")
        return RunConfig.from_json(json.dumps(written))

    def request(self) -> RunRequest:
        """Return what the modeller asked for."""
        return self._read("config.json", RunRequest)

    def write_request(self, request: RunRequest) -> None:
        """Replace what the modeller asked for."""
        self._write("config.json", request.document())

    def results(self) -> Results:
        """Return the results so far; without a status before there are any."""
        return self._read("results.json", Results) if (self.path / "results.json").exists() else Results()

    def write_results(self, results: Results) -> None:
        """Replace the results."""
        self._write("results.json", results.document())

    def write_encoding(self, schema: str, encoding: str) -> None:
        """Write the pods' combined schema and the encoding, each given as JSON text."""
        self._write("encoding.json", {"schema": json.loads(schema), "encoding": json.loads(encoding)})

    def encoding(self) -> tuple[str, str]:
        """Return what `write_encoding` wrote; raises `UsageError` if there is none."""
        content = self._read("encoding.json", Document).document()
        return json.dumps(content.get("schema")), json.dumps(content.get("encoding"))

    @property
    def resumed(self) -> bool:
        """Whether the run continues from its checkpoint."""
        return bool(self.results().resumed)

    def settings(self) -> dict[str, Any]:
        """Return the settings as they were written, and with what followed from the table as far as that is known."""
        training = self.results().training
        return {**self.request().settings, **(training.settings if training else {})}

    @property
    def network_path(self) -> Path:
        """Path of the source of a network of the modeller's own; no file where the run has one of the product's."""
        return self.path / "network.py"

    @property
    def checkpoint_path(self) -> Path:
        """Path of the run's `server.app.checkpoint.Checkpoint`; no file before the first round is completed."""
        return self.path / "checkpoint.npz"

    def stop_asked(self) -> str | None:
        """Return why a callback asked the run to end, or None if none did."""
        try:
            return (self.path / STOP_FILE).read_text("utf-8")
        except FileNotFoundError:
            return None

    def forget_stop(self) -> None:
        """Withdraw a callback's request to end."""
        (self.path / STOP_FILE).unlink(missing_ok=True)

    @contextmanager
    def carried_out(self) -> Iterator[None]:
        """Lock the run while it is carried out; raises `UsageError` if another process has locked it."""
        with ExitStack() as stack:
            try:
                stack.enter_context(held(self.path / ".lock"))
            except BlockingIOError:
                raise UsageError(f"run {self.name} is under way; stop it first, or let it end") from None
            yield

    def model_path(self, form: str = "safetensors") -> Path:
        """Return the path of the model; raises `UsageError` if the run has none."""
        path = self.path / f"model.{form}"
        if not path.is_file():
            raise UsageError(f"{path}: run {self.name} has no model: it ended as '{self.results().status}'")
        return path

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        part = self.path / f".{name}"
        part.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
        part.replace(self.path / name)

    def _read(self, name: str, kind: type[_Kind]) -> _Kind:
        path = self.path / name
        try:
            return kind.read(path.read_bytes())
        except (OSError, UsageError) as error:
            raise UsageError(f"{path}: cannot be read: {error}") from error


def find_model(given: str | Path, runs: Path = Path("runs")) -> Path:
    """Return the file of the model ``given``: a model file, or a run as `RunDirectory.find` takes it.

    Raises
    ------
    UsageError
        If it is neither, or the run has no model.
    """
    path = Path(given)
    if path.suffix in MODEL_SUFFIXES and path.is_file():
        return path
    try:
        run = RunDirectory.find(given, runs)
    except UsageError:
        raise UsageError(
            f"{given}: no model file ({', '.join(MODEL_SUFFIXES)}) and no run directory (it would hold config.json); "
            "`fl-app runs` lists the runs"
        ) from None
    return run.model_path()


def request_for(federation: Federation, test_file: Path | None = None) -> RunRequest:
    """Return the federation's name and source, and the public test file with how to read it."""
    path = test_file or federation.test_file
    return RunRequest(
        federation=federation.name,
        source=federation.source,
        test_file=str(path.resolve()) if path else None,
        test_read_options=dict(federation.test_read_options),
    )


def make_dated(runs: Path, now: datetime, prefix: str = "") -> Path:
    """Make a directory under ``runs`` whose name says when, and return its path; raises `OSError` if it cannot.

    The name ends in two random bytes: short enough to be typed, and drawn again where another run of the same second
    has them.
    """
    names = (f"{prefix}{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}" for _ in range(_DRAWS))
    runs.mkdir(parents=True, exist_ok=True)
    for name in names:
        with suppress(FileExistsError):
            (runs / name).mkdir()
            return (runs / name).resolve()
    raise FileExistsError(errno.EEXIST, f"{_DRAWS} names of this second are taken")
