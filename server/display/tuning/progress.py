"""A tuning's progress on a console: a line for each run, and the status meanwhile."""

from collections.abc import Iterator

from fl_app.validation import counted
from server.display.several import SeveralProgress
from server.display.tuning.table import in_words
from server.display.words import number as figure
from server.modeller.tuning.directory import Tuning, planned


class TuningProgress(SeveralProgress[Tuning]):
    """Follows a tuning: a line as each run ends, with the trial's settings and its figure."""

    def _planned(self, content: Tuning) -> str:
        return planned(content)

    def _place(self, content: Tuning, number: int) -> tuple[str, int]:
        return f"run {number}", content.runs_planned

    def _ended(self, content: Tuning) -> Iterator[tuple[tuple[int, int], str]]:
        found = [(run.rung, trial, run) for trial in content.trials for run in trial.runs if run.status != "running"]
        for rung, trial, run in sorted(found, key=lambda one: (one[0], one[1].number)):
            came = (
                f"{content.metric} {figure(run.value)}" if run.status == "completed" else f"left out: {trial.left_out}"
            )
            place = f"rung {rung + 1}, {counted(run.rounds, 'round')}: trial {trial.number}"
            yield (trial.number, rung), f"{place}, {in_words(trial.settings)}: {came}"
