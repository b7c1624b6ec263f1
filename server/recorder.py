"""What a run leaves behind: results and checkpoint after every round, the model at the end. Sums only."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy.typing as npt

from fl_app.config import RunConfig
from fl_app.errors import DataError, FlAppError
from fl_app.secagg.identity import fingerprint
from fl_app.tabular.encoding import Encoding
from fl_app.tabular.metrics import Counts, metrics_of
from fl_app.tabular.schema import CombinedSchema
from server.checkpoint import Checkpoint
from server.run_directory import RunDirectory
from server.scoring import TestFile
from strategies import CohortRefused, Round, SecureAggregation, StepFailed
from strategies.cohort import Cohort
from strategies.inner import server_state
from strategies.look import Look

COUNTS = tuple(Counts.zeros(2).arrays())


class Recorder:
    """Keeps results.json up to date while a run goes on.

    Parameters
    ----------
    run : RunDirectory
        Where to; what its results say of a run that is resumed is kept and continued.
    checkpoint : Checkpoint or None
        Where a resumed run goes on.
    """

    def __init__(self, run: RunDirectory, checkpoint: Checkpoint | None = None) -> None:
        self._run = run
        self._started = time.monotonic()
        self._encoding: Encoding | None = None
        self._strategy: SecureAggregation | None = None
        self._test_file: TestFile | None = None
        self._arrays: Mapping[str, npt.NDArray[Any]] = checkpoint.arrays if checkpoint else {}
        self._results: dict[str, Any] = run.results() or {
            "run_id": run.name,
            "status": "running",
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "rounds": [],
        }
        self._before: float = self._results.get("seconds", 0.0)
        self._spent: dict[str, Any] = self._results.get("secure_aggregation", {})

    @cached_property
    def _config(self) -> RunConfig:
        return self._run.config()

    def step(self, name: str, number: int = 0) -> None:
        """Note which step is under way."""
        self._results["step"] = {"name": name, "round": number, "of": self._config.rounds}
        self._save()

    def cohort(self, strategy: SecureAggregation) -> None:
        """Note who takes part."""
        if strategy.sessions is None:
            return
        cohort = strategy.sessions.cohort
        self._strategy = strategy
        self._results["pods"] = _pods(cohort)

    def look(self, look: Look) -> None:
        """Write what pods publish, where that is all that was asked."""
        schemas, now = look.cohort.schemas, datetime.now(UTC).isoformat(timespec="seconds")
        self._results["pods"] = [
            {
                **pod,
                "schema": json.loads(schemas[pod["name"]]),
                "online_since": look.since.get(pod["name"]),
                "last_seen": now,
            }
            for pod in _pods(look.cohort)
        ]
        self._results["problems"] = list(look.problems)
        self._results["status"] = "completed"
        self._save()

    def schema(self, schema: CombinedSchema, encoding: Encoding) -> None:
        """Note in what the pods' schemas differ, and make the public test file ready."""
        self._encoding = encoding
        self._run.write_encoding(schema.to_json(), encoding.to_json())
        self._results["schema_differences"] = list(schema.differences)
        self._results["classes"] = list(encoding.labels)
        settings = self._run.settings()
        if path := settings.get("test_file"):
            options = settings.get("test_read_options") or {}
            self._test_file = TestFile(Path(path), options, encoding, self._config.architecture)

    def round(self, done: Round) -> None:
        """Note a completed round; what was evaluated in it is the model of the round before."""
        rounds = self._results["rounds"]
        if rounds:
            rounds[-1] |= _metrics(done.aggregate.values)
        arrays = {name: array.numpy() for name, array in done.arrays.items()}
        entry: dict[str, Any] = {
            "round": done.number,
            "train_loss": _finite(done.train.get("loss")),
            "clipped": done.aggregate.clipped,
            "weight": done.aggregate.weight,
            "seconds": round(done.seconds, 3),
            "pods": list(done.step.pods),
            "lost": {name: asdict(loss) for name, loss in done.step.lost.items()},
        }
        if self._test_file:
            entry["test"] = self._test_file.score(arrays)
        rounds.append(entry)
        server = server_state(self._strategy.inner) if self._strategy else {}
        Checkpoint(done.number, arrays, server, tuple(rounds)).save(self._run.checkpoint_path)
        self._arrays = arrays
        last = len(rounds) == self._config.rounds
        self.step("evaluate" if last else "train", done.number if last else done.number + 1)

    def skip(self, number: int, error: StepFailed) -> None:
        """Note a round that could not be completed, and why."""
        lost = {name: asdict(loss) for name, loss in error.lost.items()}
        self._results.setdefault("skipped", []).append({"round": number, "lost": lost, "why": str(error)})
        self.step("train", number + 1)

    def finish(self, strategy: SecureAggregation) -> None:
        """Write the model and the final results."""
        from fl_app.tabular.model_file import SUFFIXES, TrainedModel

        if strategy.final is None or self._encoding is None:
            raise FlAppError("the run ended without its final evaluation")
        values = strategy.final.aggregate.values
        self._results["rounds"][-1] |= _metrics(values)
        self._results["final"] = _metrics(values, "test_")
        final = _counts(values, "test_")
        self._results["confusion"] = final.confusion.tolist()
        self._results["histograms"] = final.histograms.tolist()
        if self._test_file:
            self._results["test"] = self._results["rounds"][-1]["test"]
        settings = self._config.model_dump(mode="json")
        origin = {"run": self._run.name, "settings": settings, "final": self._results["final"]}
        model = TrainedModel(self._encoding, self._config.architecture, dict(self._arrays), origin)
        for suffix in SUFFIXES:
            model.save(self._run.path / f"model{suffix}")
        self._results["status"] = "completed"
        self._results.pop("step", None)
        self._save()

    def fail(self, error: FlAppError) -> None:
        """Note how the run ended."""
        self._results["status"] = "failed"
        self._results["error"] = str(error)
        self._results["data_error"] = isinstance(error, DataError)
        if isinstance(error, CohortRefused):
            self._results["approvals"] = error.matrix()
        self._save()

    def _save(self) -> None:
        self._results["seconds"] = round(self._before + time.monotonic() - self._started, 3)
        if self._strategy is not None:
            self._results["secure_aggregation"] = self._secure_aggregation(self._strategy)
        self._run.write_results(self._results)

    def _secure_aggregation(self, strategy: SecureAggregation) -> dict[str, Any]:
        """Return the settings of the secure sums, and what they have cost since the run first began."""
        steps = {
            kind: {
                "messages": traffic.messages,
                "bytes_out": traffic.bytes_out,
                "bytes_in": traffic.bytes_in,
                "seconds": [round(seconds, 3) for seconds in traffic.seconds],
            }
            for kind, traffic in strategy.traffic().items()
        }
        for kind, cost in self._spent.get("steps", {}).items():
            now = steps.get(kind, {})
            steps[kind] = {name: value + now[name] if now else value for name, value in cost.items()}
        return {
            "enabled": strategy.secure,
            "prime_q": strategy.prime_q,
            "update_bound": strategy.declared.update_bound,
            "max_weight": strategy.max_weight,
            "weighting": strategy.weighting,
            "threshold": strategy.sessions.aggregator.threshold if strategy.sessions and strategy.secure else None,
            "sessions": self._spent.get("sessions", 0) + (strategy.sessions.opened if strategy.sessions else 0),
            "steps": steps,
        }


def _metrics(values: Mapping[str, Any], prefix: str = "") -> dict[str, float | int | None]:
    """Return the metrics of the summed counts; what no row defines is None."""
    counts = _counts(values, prefix)
    found = {name: _finite(value) for name, value in metrics_of(counts).items()}
    return {**found, "num_examples": int(counts.confusion.sum())}


def _counts(values: Mapping[str, Any], prefix: str) -> Counts:
    return Counts.from_arrays({name: values[f"evaluate.{prefix}{name}"] for name in COUNTS})


def _pods(cohort: Cohort) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "key": fingerprint(hello.identity_key),
            "approves": list(cohort.approvals.get(name, ())),
            "versions": dict(text.split(" ", 1) for text in cohort.versions.get(name, ()) if " " in text),
        }
        for name, hello in cohort.hellos.items()
    ]


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
