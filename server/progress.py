"""What the modeller sees while a run goes on, and when it is over: one line a round, and a table."""

from collections.abc import Mapping
from typing import Any, Self

from rich.console import Console
from rich.status import Status
from rich.table import Table

METRICS = ("accuracy", "auc", "f1", "recall", "precision", "brier", "loss")
_STEPS = {
    "hello": "waiting for the pods",
    "statistics": "summing statistics",
    "train": "training round",
    "evaluate": "final evaluation",
}


class Progress:
    """Follows a run's results and prints each round as it completes; on a terminal, also what is going on.

    Parameters
    ----------
    console : Console
        Where to; not a terminal: plain lines, no animation.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown = 0
        self._status: Status | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status = self._console.status("starting")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def __call__(self, results: Mapping[str, Any]) -> None:
        """Show what is new in ``results``; of a run that is resumed, what came to light since."""
        last = results["resumed"][-1]["after"] if results.get("resumed") else 0
        rounds = [entry for entry in results.get("rounds", ()) if entry["round"] >= last]
        for entry in rounds[self._shown :]:
            # A round's own evaluation comes in with the next step, so its line waits for it.
            if "auc" not in entry:
                break
            self._console.print(_line(entry, results), highlight=False)
            self._shown += 1
        step = results.get("step")
        if self._status and step:
            number = f" {step['round']} of {step['of']}" if step["round"] else ""
            self._status.update(_STEPS.get(step["name"], step["name"]) + number)


def _line(entry: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    total = results.get("step", {}).get("of") or len(results["rounds"])
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
    rows = [(f"round {entry['round']}, validation", entry) for entry in results["rounds"]]
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
