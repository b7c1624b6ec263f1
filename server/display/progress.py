"""What the modeller sees while a run goes on, and when it is over: one line a round, and a table."""

from collections.abc import Mapping
from typing import Any, Self

from rich.console import Console
from rich.table import Table

from server.display.live import display_for
from server.display.progress_text import Clock, bytes_of, traffic

METRICS = ("accuracy", "auc", "f1", "recall", "precision", "brier", "loss")


class Progress:
    """Follows a run's results: a line for each round as it completes, and what is going on meanwhile.

    Parameters
    ----------
    console : Console
        Where to; see `server.display.live` for what is shown where.
    """

    def __init__(self, console: Console) -> None:
        self._display = display_for(console)
        self._clock = Clock()
        self._shown = self._of = 0
        self._ended = False

    def __enter__(self) -> Self:
        self._display.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._display.stop()

    def __call__(self, results: Mapping[str, Any]) -> None:
        """Show what is new in ``results``; of a run that is resumed, what came to light since."""
        self._of = results.get("step", {}).get("of") or self._of
        last = results["resumed"][-1]["after"] if results.get("resumed") else 0
        rounds = [entry for entry in results.get("rounds", ()) if entry["round"] >= last]
        for entry in rounds[self._shown :]:
            # A round's own evaluation comes in with the next step, so its line waits for it.
            if "auc" not in entry:
                break
            self._display.line(_line(entry, self._of or len(results["rounds"])))
            self._shown += 1
        if results.get("status") == "completed" and not self._ended:
            self._ended = True
            for text in _end(results):
                self._display.line(text)
        if results.get("status", "running") == "running":
            self._display.status(self._clock.status(results))


def _end(results: Mapping[str, Any]) -> list[str]:
    said = []
    if stopped := results.get("stopped"):
        said.append(f"training ended with round {stopped['round']}: {stopped['why']}")
    if _restored(results):
        said.append(f"the model kept is that of round {results['kept']}")
    return [*said, f"done in {results['seconds']:.1f} s: {traffic(*bytes_of(results))}"]


def _restored(results: Mapping[str, Any]) -> bool:
    """Say whether the model that was kept is not that of the last round."""
    return "kept" in results and results["kept"] != results["rounds"][-1]["round"]


def _line(entry: Mapping[str, Any], total: int) -> str:
    shown = "  ".join(f"{name} {_number(entry.get(name))}" for name in ("accuracy", "auc", "loss"))
    loss = _number(entry["train_loss"])
    return f"round {entry['round']:>3}/{total}  {shown}  train loss {loss}  {entry['seconds']:.1f} s"


def results_table(results: Mapping[str, Any]) -> Table:
    """Return the table of a run: a row a round (federated validation rows), then the final figures."""
    table = Table(title=f"run {results['run_id']}", title_justify="left")
    table.add_column("rows")
    for name in METRICS:
        table.add_column(name, justify="right")
    table.add_column("examples", justify="right")
    kept = results["kept"] if _restored(results) else None
    rows = [
        (f"round {entry['round']}, validation{', kept' if entry['round'] == kept else ''}", entry)
        for entry in results["rounds"]
    ]
    rows += [("final, pods' test rows", results["final"])] if "final" in results else []
    rows += [("public test file", results["test"])] if "test" in results else []
    for index, (label, entry) in enumerate(rows):
        table.add_row(
            label,
            *(_number(entry.get(name)) for name in METRICS),
            str(entry.get("num_examples", "")),
            end_section=index == len(results["rounds"]) - 1,
        )
    return table


def matrix_table(rows: list[list[str]]) -> Table:
    """Return the approval matrix as a table: who approves whom."""
    table = Table(title="approvals", title_justify="left")
    for head in rows[0]:
        table.add_column(head)
    for row in rows[1:]:
        table.add_row(*row)
    return table


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else "-"
