"""What a run leaves behind: results and checkpoint after every round, the model at the end. Sums only."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from flwr.app import Array, ArrayRecord

from fl_app.config import RunConfig
from fl_app.errors import DataError, FlAppError
from fl_app.flower.names import EVALUATE, LOSS, TEST_PREFIX, segment
from fl_app.secagg.crypto import fingerprint
from fl_app.tabular.encoding import Encoding
from fl_app.tabular.metrics import Counts, metrics_of
from fl_app.tabular.schema import CombinedSchema
from server.app.best_model import Arrays, Stopping
from server.app.checkpoint import Checkpoint
from server.app.public_rows import TestFile
from server.app.run_directory import RunDirectory
from strategies import CohortRefused, Round, SecureAggregation, StepFailed
from strategies.cohort import Cohort
from strategies.inner_strategy import server_state
from strategies.look import Look

COUNTS = tuple(Counts.zeros(2).arrays())
LEAST_SECONDS = 0.25
"""Between two notes of who is waited for."""


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
        self._arrays: Arrays = checkpoint.arrays if checkpoint else {}
        self._rounds_before = checkpoint.rounds if checkpoint else ()
        self._best_before: Arrays = checkpoint.best if checkpoint else {}
        self._kept: int | None = None
        self._saved, self._cost = -math.inf, 0.0
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

    @cached_property
    def _stopping(self) -> Stopping:
        return Stopping(self._config.early_stopping, self._rounds_before, self._best_before)

    def step(self, name: str, number: int = 0) -> None:
        """Note which step is under way."""
        self._results["step"] = {"name": name, "round": number, "of": self._config.rounds, "waiting": []}
        self._save()

    def wait(self, trip: str, pods: Sequence[str]) -> None:
        """Note of which trip the server waits for which pods; it may be told often, and writes a few times a second."""
        step, now = self._results.get("step"), time.monotonic()
        if step is None or (step.get("trip"), step["waiting"]) == (trip, list(pods)):
            return
        # What a write costs grows with the rounds; it is to take no more than a twentieth of the time.
        if now - self._saved >= max(LEAST_SECONDS, 20 * self._cost):
            step |= {"trip": trip, "waiting": list(pods)}
            self._save()

    def over(self) -> bool:
        """Say whether training ends before its last round."""
        return "stopped" in self._results

    def keep(self) -> tuple[int, ArrayRecord] | None:
        """Return the number and the arrays of the round whose model is kept, None for the last one."""
        if not (kept := self._stopping.kept()):
            return None
        self._kept, self._arrays = kept
        return self._kept, ArrayRecord({name: Array(value) for name, value in self._arrays.items()})

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
            self._stopping.evaluated(rounds[-1], self._arrays)
        arrays = {name: array.numpy() for name, array in done.arrays.items()}
        entry: dict[str, Any] = {
            "round": done.number,
            "train_loss": _finite(done.train.get(LOSS)),
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
        Checkpoint(done.number, arrays, server, tuple(rounds), self._stopping.best).save(self._run.checkpoint_path)
        self._arrays = arrays
        self._note_stop(done.number)
        last = len(rounds) == self._config.rounds or self.over()
        self.step("evaluate" if last else "train", done.number if last else done.number + 1)

    def begin(self, strategy: SecureAggregation) -> None:
        """Note that the pods are about to train, or, where no round is left, to evaluate."""
        if rounds := self._results["rounds"]:
            self._note_stop(rounds[-1]["round"])
        trains = strategy.completed < self._config.rounds and not self.over()
        self.step("train" if trains else "evaluate", strategy.first_round if trains else strategy.first_round - 1)

    def _note_stop(self, number: int) -> None:
        """Note whether training ends with round ``number``, before its last, and how it stands by early stopping."""
        self._note_standing()
        why = self._stopping.why or self._run.stop_asked()
        if why and len(self._results["rounds"]) < self._config.rounds and not self.over():
            self._results["stopped"] = {"round": number, "why": why}

    def _note_standing(self) -> None:
        if self._stopping.standing:
            self._results["early_stopping"] = self._stopping.standing.document()

    def skip(self, number: int, error: StepFailed) -> None:
        """Note a round that could not be completed, and why."""
        lost = {name: asdict(loss) for name, loss in error.lost.items()}
        self._results.setdefault("skipped", []).append({"round": number, "lost": lost, "why": str(error)})
        self._note_stop(number)
        self.step("train", number + 1)

    def finish(self, strategy: SecureAggregation) -> None:
        """Write the model and the final results."""
        from fl_app.tabular.model_file import SUFFIXES, TrainedModel

        if strategy.final is None or self._encoding is None:
            raise FlAppError("the run ended without its final evaluation")
        values, rounds = strategy.final.aggregate.values, self._results["rounds"]
        last = rounds[-1]
        kept = next((entry for entry in rounds if entry["round"] == self._kept), last)
        # Of the last round's model nobody knows the metrics if another one is kept.
        last |= _metrics(values) if kept is last else dict.fromkeys(set(_metrics(values)) - {"num_examples"})
        if kept is last:
            self._stopping.evaluated(last, self._arrays)
            self._note_standing()
        self._results["kept"] = kept["round"]
        self._results["final"] = _metrics(values, TEST_PREFIX)
        final = _counts(values, TEST_PREFIX)
        self._results["confusion"] = final.confusion.tolist()
        self._results["histograms"] = final.histograms.tolist()
        if self._test_file:
            self._results["test"] = kept["test"]
        settings = self._config.model_dump(mode="json")
        origin = {"run": self._run.name, "settings": settings, "round": kept["round"], "final": self._results["final"]}
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
        began = time.monotonic()
        self._results["seconds"] = round(self._before + began - self._started, 3)
        if self._strategy is not None:
            self._results["secure_aggregation"] = self._secure_aggregation(self._strategy)
        self._run.write_results(self._results)
        self._saved = time.monotonic()
        self._cost = self._saved - began

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
    return Counts.from_arrays({name: values[segment(EVALUATE, prefix + name)] for name in COUNTS})


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
