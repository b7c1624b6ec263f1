"""The trials of a tuning as rows: the best first, with its figure on each rung."""

from collections.abc import Iterator

from rich.table import Table

from fl_app.validation import counted
from server.display.words import number
from server.modeller.tuning.directory import Trial, Tuning
from server.modeller.tuning.space import TrialSettings

FEW_ROWS = 500
"""Below this the error of a mean loss is of the order of what settings that are both good differ by."""
SETTINGS = ("architecture", "optimizer", "lr", "batch", "epochs", "weight decay")


def heads(tuning: Tuning) -> list[str]:
    """Return the heads of the columns."""
    rungs = [counted(rung.rounds, "round") for rung in tuning.rungs]
    if not tuning.final_wanted:
        del rungs[-1]
    return ["trial", *SETTINGS, *rungs]


def rows(tuning: Tuning) -> Iterator[tuple[Trial, list[str]]]:
    """Yield each trial with its cells: those that came furthest first, of these the best."""
    columns = len(heads(tuning)) - 1 - len(SETTINGS)
    shown: list[int] = []
    for rung in range(len(tuning.rungs) - 1, -1, -1):
        shown += [trial.number for trial in tuning.ranked(rung) if trial.number not in shown]
    shown += [trial.number for trial in tuning.trials if trial.number not in shown]
    for place in shown:
        trial = tuning.trials[place - 1]
        figures = [_figure(trial, rung) for rung in range(columns)]
        yield trial, [str(trial.number), *settings_of(trial.settings), *figures]


def settings_of(settings: TrialSettings) -> list[str]:
    """Return a trial's settings in the order of `SETTINGS`."""
    numbers = (settings.learning_rate, settings.batch_size, settings.local_epochs, settings.weight_decay)
    return [settings.architecture, settings.optimizer, *(f"{value:g}" for value in numbers)]


def in_words(settings: TrialSettings) -> str:
    """Return a trial's settings in a line."""
    architecture, optimizer, rate, batch, epochs, decay = settings_of(settings)
    return f"{architecture}, {optimizer} at {rate}, batch {batch}, epochs {epochs}, weight decay {decay}"


def compared_on(tuning: Tuning) -> str:
    """Return by how many rows trials were compared, in a sentence, with a warning where these are few; "" before."""
    if not (rows := tuning.validation_rows):
        return ""
    few = ": so few that small differences are chance" if rows < FEW_ROWS else ""
    return f"compared on {counted(rows, 'validation row')} of all pods{few}"


def trials_table(tuning: Tuning) -> Table:
    """Return the table of a tuning: a row for each trial, with its metric after each rung."""
    table = Table(title=f"{tuning.tune_id}: validation {tuning.metric}", title_justify="left")
    for place, head in enumerate(heads(tuning)):
        table.add_column(head, justify="left" if 0 < place < 3 else "right")
    for _, cells in rows(tuning):
        table.add_row(*cells)
    return table


def _figure(trial: Trial, rung: int) -> str:
    run = trial.on(rung)
    if run and run.status == "completed":
        return number(run.value)
    return "left out" if run and trial.left_out else ""
