"""One of several runs, carried through: begun, resumed where it ended early, and begun again where Ray did not start.

A tuning and a cross-validation are made of such runs. Both go on where they ended, and repeat no run that is completed.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic

from fl_app.config import RunConfig
from fl_app.errors import UsageError
from fl_app.federation.kinds import Federation
from fl_app.host.signals import interruptible
from fl_app.tabular.schema import CombinedSchema
from server.app.results import Results
from server.app.run_directory import RunDirectory
from server.modeller.launch import FitFailed, Follow, Interrupted, deadline_of
from server.modeller.launch import carry_out as carry_out_run
from server.modeller.resume import resume as resume_run
from server.modeller.several_directory import Content, SeveralDirectory

LIMIT_OF_THE_DAY = re.compile(r"\((maximum_runs_per_day|maximum_rounds_per_day|maximum_failed_steps_per_day)\)")
"""What the error of a run says where a pod has answered as much as its owner allows in a day."""
_RAY_DID_NOT_START = re.compile(r"Ray's raylet ended while it started|Ray timed out|simulations, did not start")
"""What the error of a simulation says in which no pod was asked: on a busy machine another attempt may do."""
_STARTS = 3


class OwnersLimit(Exception):
    """A pod has answered as much as its owner allows in a day."""


class Going(ABC, Generic[Content]):
    """What takes several runs, as it is carried out: how far it is, and how it came to its end.

    Parameters
    ----------
    directory
        Where it is written; its document has ``settings``, ``expected``, ``status`` and ``why``.
    federation
        Where to reach the pods.
    follow
        Called a few times a second with what there is so far, and the results of the run under way.
    how_to_go_on
        The command that goes on with it, for whoever stopped it.
    """

    def __init__(
        self,
        directory: SeveralDirectory[Content],
        federation: Federation,
        follow: Callable[[Content, Results], None] | None,
        how_to_go_on: str,
    ) -> None:
        self._directory, self._federation, self._follow = directory, federation, follow
        self._how_to_go_on = how_to_go_on
        self._so_far = directory.read()
        known: Any = self._so_far
        self._base = RunConfig.from_json(json.dumps(known.settings))
        self._schema = CombinedSchema.from_json(json.dumps(known.expected)) if known.expected else None

    def on(self) -> Content:
        """Go on to the end, and record how it came."""
        try:
            with interruptible():
                self._all()
            self._write(self._so_far.changed(**{"status": "completed", "why": "", **self._came_to()}))
        except OwnersLimit as limit:
            self._end("stopped", str(limit))
        except KeyboardInterrupt:
            self._end("interrupted", "stopped by the modeller")
            raise Interrupted(f"stopped; {self._how_to_go_on}") from None
        except Exception as error:
            self._end("failed", str(error))
            raise
        return self._so_far

    @abstractmethod
    def _all(self) -> None:
        """Carry out all runs that are left."""

    def _came_to(self) -> dict[str, Any]:
        """Return what the document says besides, once all runs are done."""
        return {}

    def _why(self, error: FitFailed) -> str:
        """Return why a run failed, without the advice how to resume it; raises `OwnersLimit` if that is why."""
        why = error.run.results().error or str(error)
        if LIMIT_OF_THE_DAY.search(why):
            raise OwnersLimit(why) from error
        return why

    def _carry_through(
        self, begun: Callable[[], RunDirectory | None], begin: Callable[[], RunDirectory]
    ) -> RunDirectory:
        return carry_through(begun, begin, self._federation, self._reported if self._follow else None)

    def _reported(self, results: Results) -> None:
        if self._follow:
            self._follow(self._so_far, results)

    def _end(self, status: str, why: str) -> None:
        self._write(self._so_far.changed(status=status, why=why))

    def _write(self, content: Content) -> None:
        self._so_far = content
        self._directory.write(content)


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
