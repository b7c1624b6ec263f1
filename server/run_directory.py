"""A run's directory: what was asked, what came of it so far, the model; every file is whole at every moment.

::

    runs/latest -> RUN_ID
    runs/RUN_ID/config.json        what was asked
                results.json       what came of it: rewritten after every step, so it shows a run under way too
                checkpoint.npz     the arrays after the last completed round
                model.safetensors  the model, and all that is needed to load it
                model.pt           the same for torch.load(weights_only=True)
                flower.log         what Flower said
"""

import json
import os
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from fl_app.config import RunConfig
from fl_app.errors import UsageError

LATEST = "latest"
MODEL_SUFFIXES = (".pt", ".safetensors")


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
    def create(cls, runs: Path, config: RunConfig | None, **settings: Any) -> Self:
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
        """Return the runs under ``runs``, the newest last."""
        found = sorted(path.parent for path in runs.glob("*/config.json") if not path.parent.is_symlink())
        return [cls(path.resolve()) for path in found]

    @property
    def name(self) -> str:
        """The run's id."""
        return self.path.name

    def config(self) -> RunConfig:
        """Return the run's settings; raises `UsageError` if it has none."""
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

    def write_checkpoint(self, number: int, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Replace the checkpoint by the arrays after round ``number``."""
        part = self.path / ".checkpoint.npz"
        with part.open("wb") as file:
            named: dict[str, Any] = {f"array.{name}": array for name, array in arrays.items()}
            np.savez(file, round=np.array(number), **named)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.path / "checkpoint.npz")

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
    """Return the file of the model ``given``: a model file, or a run as `RunDirectory.find` takes it."""
    path = Path(given)
    return path if path.suffix in MODEL_SUFFIXES and path.is_file() else RunDirectory.find(given, runs).model_path()
