"""Whose rows an evaluation is of: which pods add theirs, which do not and why, and which classes too few pods have."""

from collections.abc import Collection, Iterator, Sequence

from fl_app.replica.state import Replica
from fl_app.replica.tabular import adding, encoding_of, minima_of, publishers_of, ways_in
from fl_app.tabular.thin_classes import NOT, TOGETHER
from fl_app.validation import first_of
from server.app.results import CountedRows
from strategies.steps import StepResult

_SHOWN = 6


def counted_rows(replica: Replica, part: str, step: StepResult) -> CountedRows:
    """Return of which pods and classes the counts of an evaluation are.

    Parameters
    ----------
    replica : Replica
        That on which it was asked.
    part : str
        "validation" or "test".
    step : StepResult
        Who has answered it.
    """
    session = (*step.pods, *step.lost)
    classes, ways = encoding_of(replica).labels, ways_in(replica, part, session)
    pods = adding(replica, part, session)
    return CountedRows(
        pods=tuple(pod for pod in pods if pod in step.pods),
        of=len(session),
        together=tuple(name for name, way in zip(classes, ways, strict=True) if pods and way == TOGETHER),
        left_out=tuple(name for name, way in zip(classes, ways, strict=True) if pods and way == NOT),
        why=tuple(_why(replica, part, session)),
    )


def _why(replica: Replica, part: str, session: Collection[str]) -> Iterator[str]:
    """Yield a sentence for whatever keeps rows out of the counts: which pods, which classes, and what would help."""
    minima, pods = minima_of(replica, part), adding(replica, part, session)
    silent = [pod for pod in session if pod not in minima]
    if silent:
        few = "none, or fewer" if part == "test" else "fewer"
        yield (
            f"{first_of(silent, _SHOWN)}: each keeps {few} {part} rows than its owner wants counted, in all "
            f"(minimum_evaluation_rows) or of a class (minimum_rows_per_class); a larger {part}_percent or lower terms "
            "would help"
        )
    if strict := [pod for pod in session if pod in minima and pod not in pods]:
        least = max(minima[pod] for pod in strict)
        yield (
            f"{first_of(strict, _SHOWN)} would add {part} rows, but an owner wants at least {least} pods in each sum "
            "(minimum_cohort): further pods with rows enough would help"
        )
    if pods:
        least = max(minima[pod] for pod in pods)
        counted = {TOGETHER: "counted in accuracy, loss and Brier score alone", NOT: "not counted"}
        for way, how in counted.items():
            if thin := [_held(name, held) for name, held, each in _classes(replica, part, session) if each == way]:
                yield (
                    f"an owner wants at least {least} pods in each sum (minimum_cohort), and fewer have enough rows to "
                    f"publish {first_of(thin, _SHOWN)}: these {part} rows are {how}"
                )


def _classes(replica: Replica, part: str, session: Collection[str]) -> Iterator[tuple[str, Sequence[str], str]]:
    """Yield each class, the pods that add rows and publish it, and how its rows are counted."""
    pods = adding(replica, part, session)
    parts = zip(encoding_of(replica).labels, publishers_of(replica), ways_in(replica, part, session), strict=True)
    for name, publishers, way in parts:
        yield name, [pod for pod in publishers if pod in pods], way


def _held(name: str, pods: Sequence[str]) -> str:
    return f"class {name!r} (at {first_of(pods, _SHOWN) or 'none that adds rows'})"
