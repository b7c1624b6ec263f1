"""A run's directory: what was asked, what came of it so far, the model; every file is whole at every moment.

::

    runs/latest -> RUN_ID
    runs/RUN_ID/config.json        what was asked
                results.json       what came of it: rewritten after every step, so it shows a run under way too
                encoding.json      the pods' schema and how rows become arrays, once the statistics are summed
                checkpoint.npz     the arrays after the last completed round, and all else to go on from there
                model.safetensors  the model, and all that is needed to load it
                model.pt           the same for torch.load(weights_only=True)
                flower.log         what Flower said
                stop               while the run is asked to end after the round under way: why
                .lock              held by whoever carries the run out
"""

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fl_app.errors import UsageError
from fl_app.system.files import held

if TYPE_CHECKING:
    from fl_app.config import RunConfig
from fl_app.federation.kinds import Federation

RUN_DIRECTORY_VARIABLE = "FL_APP_RUN_DIR"
"""Environment variable through which the ServerApp finds the run directory that the modeller's command has made."""
LATEST = "latest"
STOP_FILE = "stop"
"""Asks the run to end after the round under way; its text says why."""
FLOWER_LOG = "flower.log"
"""File in the run directory with all that Flower and the ServerApp print."""
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
    def create(cls, runs: Path, config: "RunConfig | None", **settings: Any) -> Self:
        """Make a new run under ``runs`` and point ``latest`` at it.

        ``settings`` are the modeller's own, kept here. Without ``config`` nothing is trained: a look at the pods.
        """
        name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        try:
            (runs / name).mkdir(parents=True)
            made = cls((runs / name).resolve())
            made._write("config.json", {"run": config and config.model_dump(mode="json"), **settings})
            link = runs / f".{LATEST}-{name}"
            link.symlink_to(name)
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
            raise UsageError(f"{runs}: not a directory; the directory of the runs is wanted")
        found = sorted(path.parent for path in runs.glob("*/config.json") if not path.parent.is_symlink())
        return [cls(path.resolve()) for path in found]

    @property
    def name(self) -> str:
        """The run's id."""
        return self.path.name

    def config(self) -> "RunConfig":
        """Return the run's settings; raises `UsageError` if it has none."""
        from fl_app.config import RunConfig  # which knows tables, and so imports pandas

        if not (written := self.configuration()):
            raise UsageError(f"run {self.name} trains nothing: its config.json has no settings")
        return RunConfig.from_json(json.dumps(written))

    def configuration(self) -> dict[str, Any]:
        """Return the run's settings as they are written; an empty mapping where nothing is trained."""
        return self._read("config.json").get("run") or {}

    def settings(self) -> dict[str, Any]:
        """Return the modeller's own settings of the run, such as the test file."""
        return {name: value for name, value in self._read("config.json").items() if name != "run"}

    def results(self) -> dict[str, Any]:
        """Return the results so far; an empty mapping before there are any."""
        return self._read("results.json") if (self.path / "results.json").exists() else {}

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Replace the results."""
        self._write("results.json", results)

    def write_config(self, config: "RunConfig", **settings: Any) -> None:
        """Replace what was asked; ``settings`` that are not given stay."""
        self._write("config.json", {"run": config.model_dump(mode="json"), **self.settings(), **settings})

    def write_encoding(self, schema: str, encoding: str) -> None:
        """Keep the pods' combined schema and the encoding, each as the JSON text it is written to."""
        self._write("encoding.json", {"schema": json.loads(schema), "encoding": json.loads(encoding)})

    def encoding(self) -> tuple[str, str]:
        """Return what `write_encoding` kept; raises `UsageError` if there is none."""
        kept = self._read("encoding.json")
        return json.dumps(kept.get("schema")), json.dumps(kept.get("encoding"))

    @property
    def resumed(self) -> bool:
        """Whether the run goes on from its checkpoint."""
        return bool(self.results().get("resumed"))

    @property
    def checkpoint_path(self) -> Path:
        """Where the run's `server.app.checkpoint.Checkpoint` is; there is none before its first round is completed."""
        return self.path / "checkpoint.npz"

    def stop_asked(self) -> str | None:
        """Return why a callback asked the run to end, or None if none did."""
        try:
            return (self.path / STOP_FILE).read_text("utf-8")
        except FileNotFoundError:
            return None

    def forget_stop(self) -> None:
        """Take back what `stop_asked` tells."""
        (self.path / STOP_FILE).unlink(missing_ok=True)

    @contextmanager
    def carried_out(self) -> Iterator[None]:
        """Hold the run while it is carried out; raises `UsageError` if some process does so already."""
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
            raise UsageError(f"{path}: run {self.name} has no model: it ended as '{self.results().get('status')}'")
        return path

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        part = self.path / f".{name}"
        part.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
        part.replace(self.path / name)

    def _read(self, name: str) -> dict[str, Any]:
        try:
            content = json.loads((self.path / name).read_text())
        except (OSError, ValueError) as error:
            raise UsageError(f"{self.path / name}: cannot be read: {error}") from error
        if not isinstance(content, dict):
            raise UsageError(f"{self.path / name}: not a JSON object")
        return content


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


MEMBERSHIP_CHANGES = 3
"""How often a run goes on after pods were lost; their owners may allow less."""


def modeller_settings(federation: Federation, test_file: Path | None = None) -> dict[str, Any]:
    """Return the federation's name and where it is written, and the public test file with how to read it."""
    path = test_file or federation.test_file
    return {
        "federation": federation.name,
        "source": federation.source,
        "test_file": str(path.resolve()) if path else None,
        "test_read_options": dict(federation.test_read_options),
    }
