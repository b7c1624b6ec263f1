"""The page of a run: live while it is under way, and afterwards what the report has, with what can be done next."""

import shlex
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fl_app.errors import FlAppError, UsageError
from fl_app.hub.charts import Line
from fl_app.hub.role import Content, NotThere, Parameters
from server.app.results import Results, RoundResult
from server.display.privacy_told import privacy_line
from server.display.run_status import Clock
from server.display.training_told import comparison_told, training_told
from server.display.words import number
from server.hub.run_files import KeptRun, RunFiles, stamp_of

SHOWN_ROUNDS = 10
"""The last rounds, which the page shows; the others open."""
MODELS = ("safetensors", "pt", "onnx", "pt2")
_KEPT = 16
"""Runs whose clock, and reports that, stay in memory."""
_OTHER_VERSIONS = (KeyError, TypeError, ValueError, AttributeError, IndexError)
"""What reading raises where another version has written something else."""
_HEADLINE, _NUMERIC_HEADLINE = ("auc", "accuracy", "loss"), ("r2", "mae", "loss")


class RunPage:
    """What the page of a run shows, and the files that it gives.

    Parameters
    ----------
    files
        The runs.
    """

    def __init__(self, files: RunFiles) -> None:
        self._files = files
        self._clocks: OrderedDict[str, Clock] = OrderedDict()
        self._reports: OrderedDict[str, tuple[object, bytes]] = OrderedDict()
        self._drawing = threading.Lock()

    def values(self, parameters: Parameters) -> Mapping[str, Any]:
        """Return what the template is filled in with."""
        run = self._files.run(parameters["run"])
        base = {"name": run.name, "commands": [], "files": list(self._there(run)), "damage": "", "gone": False}
        try:
            results, settings = run.results(), run.settings()
            shown = {**base, **_figures(results), **_details(settings, results)}
        except (FlAppError, OSError) as error:
            return {**base, "damage": str(error)}
        running = results.status in (None, "running")
        gone = running and run.gone()
        status = self._clock(run.name).status(results) if running and not gone else None
        return {**shown, "status": status, "gone": gone, "commands": list(self._commands(run, results, gone=gone))}

    def report(self, parameters: Parameters) -> Content:
        """Return the report's page, made from what the run has come to."""
        run = self._files.run(parameters["run"])
        stamps = (stamp_of(run.path / "config.json"), stamp_of(run.path / "results.json"))
        with self._drawing:  # matplotlib's settings are one for all threads
            kept = self._reports.pop(run.name, None)
            if kept is None or kept[0] != stamps:
                kept = (stamps, _report(run))
            _keep(self._reports, run.name, kept)
        return Content(kept[1], "text/html; charset=utf-8")

    def file(self, parameters: Parameters) -> Content:
        """Return the model in one of its forms, or results.json."""
        run, name = self._files.run(parameters["run"]), parameters["file"]
        if name not in dict(self._there(run)):
            raise NotThere(f"Run {run.name!r} has no such file.")
        kind = "application/json" if name.endswith(".json") else "application/octet-stream"
        return Content(run.path / name, kind, name)

    def _there(self, run: KeptRun) -> Iterator[tuple[str, int]]:
        """Yield the names and sizes of the files that can be had; a link is none of the run's."""
        for name in (*(f"model.{form}" for form in MODELS), "results.json"):
            path = run.path / name
            if path.is_file() and not path.is_symlink():
                yield name, path.stat().st_size

    def _clock(self, name: str) -> Clock:
        found = self._clocks.pop(name, None) or Clock()
        _keep(self._clocks, name, found)
        return found

    def _commands(self, run: KeptRun, results: Results, *, gone: bool) -> Iterator[tuple[str, str]]:
        runs = [] if self._files.path == Path("runs") else ["--runs", str(self._files.path)]
        described = bool(results.description)
        if (run.path / "model.safetensors").is_file():
            model = ["--format", "safetensors", "-o", "model.safetensors"]
            yield "Take the model along", shlex.join(["fl-app", "export", run.name, *model, *runs])
            yield "Score a table with it", shlex.join(["fl-app", "predict", run.name, "table.csv", *runs])
        if results.rounds or described:
            yield "Write the report as a file", shlex.join(["fl-app", "report", run.name, *runs])
        if (gone or results.status in ("failed", "interrupted")) and run.checkpoint_path.is_file():
            yield "Resume it after its last completed round", shlex.join(["fl-app", "fit", "--resume", run.name, *runs])


def _report(run: KeptRun) -> bytes:
    from server.display.report import report_page

    try:
        return report_page(run).encode()
    except (FlAppError, OSError, *_OTHER_VERSIONS) as error:
        raise NotThere(f"Run {run.name!r} has no report: its files cannot be read: {error}") from error


def _keep(kept: "OrderedDict[str, Any]", name: str, value: object) -> None:
    kept[name] = value
    while len(kept) > _KEPT:
        kept.popitem(last=False)


def _details(settings: Mapping[str, Any], results: Results) -> Mapping[str, Any]:
    """Return what the report says of the run too; of settings of another version, what stands without them."""
    from server.display.report.page import contents

    try:
        return contents(settings, results)
    except _OTHER_VERSIONS:
        pass
    try:
        return {**contents({}, results), "foreign": True}
    except _OTHER_VERSIONS as error:
        raise UsageError(f"results.json lacks what this version shows: {error!r}") from error


def _figures(results: Results) -> Mapping[str, Any]:
    pods = [pod.name for pod in results.pods]
    aggregation = results.secure_aggregation
    return {
        "foreign": False,
        "trained": _training(results),
        "promised": privacy_line(results.privacy),
        "charts": [(title, lines) for title, lines in _curves(results) if any(line.points for line in lines)],
        "heads": [name.replace("_", " ") for name in _headline(results)],
        "rounds": [_round(results, entry, pods) for entry in reversed(results.rounds)],
        "cohort": [
            {
                "name": pod.name,
                "key": pod.key,
                "versions": ", ".join(f"{package} {of}" for package, of in pod.versions.items()),
                "rounds": sum(pod.name in entry.pods for entry in results.rounds),
                "waited": bool(results.step and pod.name in results.step.waiting and results.status == "running"),
            }
            for pod in results.pods
        ],
        "sent": aggregation.bytes_out if aggregation else 0,
        "received": aggregation.bytes_in if aggregation else 0,
    }


def _training(results: Results) -> str:
    try:
        compared = results.training and results.training.compared
        return "; ".join(filter(None, [training_told(results), comparison_told(compared) if compared else ""]))
    except _OTHER_VERSIONS:
        return ""


def _headline(results: Results) -> Sequence[str]:
    return _NUMERIC_HEADLINE if results.regression else _HEADLINE


def _round(results: Results, entry: RoundResult, pods: Sequence[str]) -> Mapping[str, Any]:
    metrics = entry.test if entry.test and not entry.evaluated else entry
    return {
        "number": entry.round,
        "cells": [number(getattr(metrics, name)) for name in _headline(results)],
        "public": metrics is not entry,
        "kept": results.kept == entry.round,
        "train_loss": number(entry.train_loss),
        "pods": f"{len(entry.pods)} of {len(pods) or len(entry.pods)}",
        "lost": [f"{pod}: {loss.text}" for pod, loss in entry.lost.items()],
        "seconds": entry.seconds,
    }


def _curves(results: Results) -> Iterator[tuple[str, list[Line]]]:
    """Yield the title and the lines of each chart."""
    pods, public = "pods' validation rows", "public test file"
    for name in ("r2", "rmse") if results.regression else ("auc", "accuracy"):
        title = name.upper() if name in ("auc", "r2", "rmse") else name
        yield title, [Line(pods, _points(results, name)), Line(public, _points(results, name, public=True))]
    training = [(entry.round, entry.train_loss) for entry in results.rounds if entry.train_loss is not None]
    trained = Line("training rows", [] if results.private else training)
    yield "loss", [Line(pods, _points(results, "loss")), Line(public, _points(results, "loss", public=True)), trained]


def _points(results: Results, name: str, *, public: bool = False) -> list[tuple[float, float]]:
    found = [(entry.round, getattr(entry.test if public else entry, name, None)) for entry in results.rounds]
    return [(place, value) for place, value in found if value is not None]
