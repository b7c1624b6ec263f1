"""One of several runs, carried through: begun, resumed where it ended early, and begun again where Ray did not start.

A tuning and a cross-validation are made of such runs. Both go on where they ended, and repeat no run that is completed.
"""

import re
from collections.abc import Callable
from pathlib import Path

from fl_app.errors import UsageError
from fl_app.federation.kinds import Federation
from server.app.run_directory import RunDirectory
from server.modeller.launch import FitFailed, Follow, deadline_of
from server.modeller.launch import carry_out as carry_out_run
from server.modeller.resume import resume as resume_run

LIMIT_OF_THE_DAY = re.compile(r"\((maximum_runs_per_day|maximum_rounds_per_day|maximum_failed_steps_per_day)\)")
"""What the error of a run says where a pod has answered as much as its owner allows in a day."""
_RAY_DID_NOT_START = re.compile(r"Ray's raylet ended while it started|Ray timed out|simulations, did not start")
"""What the error of a simulation says in which no pod was asked: on a busy machine another attempt may do."""
_STARTS = 3


class OwnersLimit(Exception):
    """A pod has answered as much as its owner allows in a day."""


def found_run(runs: Path, name: str) -> RunDirectory | None:
    """Return the run of a name, if its directory is still there."""
    try:
        return RunDirectory.find(runs / name)
    except UsageError:
        return None


def carry_through(
    begun: Callable[[], RunDirectory | None],
    begin: Callable[[], RunDirectory],
    federation: Federation,
    follow: Follow | None = None,
) -> RunDirectory:
    """Return a run that is completed: what is left of the one that has begun before, or else a new one.

    Parameters
    ----------
    begun
        Returns the run that has begun before, if any.
    begin
        Makes the directory of a new one, and enters its name before it is carried out.
    federation
        Where to reach the pods.
    follow
        Called a few times a second with the run's results so far.

    Raises
    ------
    FitFailed
        If it failed; one that did not start is begun again, twice.
    """
    for _ in range(_STARTS - 1):
        try:
            return _attempted(begun(), begin, federation, follow)
        except FitFailed as error:
            if not _RAY_DID_NOT_START.search(str(error)):
                raise
    return _attempted(begun(), begin, federation, follow)


def _attempted(
    begun: RunDirectory | None, begin: Callable[[], RunDirectory], federation: Federation, follow: Follow | None
) -> RunDirectory:
    if begun and begun.results().status == "completed":
        return begun
    if begun and begun.checkpoint_path.exists():
        try:
            return resume_run(begun, federation, follow=follow)
        except FitFailed as error:
            if LIMIT_OF_THE_DAY.search(str(error)):
                raise
    run = begin()
    with run.carried_out():
        carry_out_run(run, federation, deadline_of(run.config()), follow)
    return run
