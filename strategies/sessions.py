"""The sessions of a run: one at the start, and another whenever pods were lost and the rest go on."""

from collections.abc import Mapping
from types import MappingProxyType

from flwr.app import RecordDict
from flwr.serverapp import Grid

from fl_app.errors import RunFailed
from fl_app.secagg.aggregator import Aggregator
from fl_app.secagg.messages import Parameters
from strategies.cohort import Cohort, CohortRefused, Watch, exchange_shares, say_hello
from strategies.polling import Exchange
from strategies.steps import StepFailed, StepResult, Steps, Traffic


class Sessions:
    """Runs steps in the current session, and opens a new one first where the membership has changed.

    Parameters
    ----------
    grid : Grid
        Flower's grid.
    parameters : Parameters
        The same for every session of the run.
    secure : bool
        Whether vectors are masked.
    hello_timeout, rejoin_timeout : float
        Seconds for the pods to answer the first hello (all of them are needed), and a later one.
    poll : float
        Seconds between two looks for replies.
    changes : int
        Most sessions after the first.
    grace, unmask_timeout : float
        See `Steps`.
    watch : callable
        Told of which trip the server waits for which pods.
    """

    def __init__(
        self,
        grid: Grid,
        parameters: Parameters,
        *,
        secure: bool,
        hello_timeout: float,
        rejoin_timeout: float,
        poll: float,
        changes: int,
        grace: float,
        unmask_timeout: float,
        watch: Watch | None = None,
    ) -> None:
        self._exchange, self._parameters, self._secure, self._poll = Exchange(grid, poll), parameters, secure, poll
        self._rejoin_timeout, self._changes = rejoin_timeout, changes
        self._grace, self._unmask_timeout, self._watch = grace, unmask_timeout, watch
        self._traffic: dict[str, Traffic] = {}
        self._changed, self._why = False, ""
        self.opened = 0
        self.aggregator, self.cohort, self._steps = self._open(hello_timeout, least=None)

    def run(self, kind: str, round: int, content: RecordDict, sizes: Mapping[str, int], timeout: float) -> StepResult:
        """Run one step, see `Steps.run`; a pod that was lost may be back in the session it runs in.

        Raises
        ------
        StepFailed
            If it cannot be completed; the next step opens a new session.
        CohortRefused, RunFailed
            If no new session can be opened.
        """
        self.renew()
        try:
            done = self._steps.run(kind, round, content, sizes, timeout)
        except StepFailed as error:
            # Pods that have answered the round before are all there, and take the next one in the same session.
            self._changed, self._why = not error.spent, str(error)
            raise
        self._changed, self._why = bool(done.lost), "; ".join(loss.why for loss in done.lost.values())
        return done

    def renew(self) -> None:
        """Open a new session if pods were lost in the last step."""
        if not self._changed:
            return
        if self.opened > self._changes:
            raise RunFailed(
                f"pods were lost {self.opened} times in this run, and {self._changes} are allowed; last: {self._why}"
            )
        self.aggregator, self.cohort, self._steps = self._open(self._rejoin_timeout, least=2)
        self._changed = False

    @property
    def traffic(self) -> dict[str, Traffic]:
        """What each kind of step has cost so far, in all sessions."""
        return self._traffic

    def _open(
        self, timeout: float, least: int | None, without: Mapping[str, int] = MappingProxyType({})
    ) -> tuple[Aggregator, Cohort, Steps]:
        """Open a session; where not every pod is needed, those that fail at the roster are left out, once."""
        self.opened += 1
        aggregator = Aggregator(self._parameters)
        cohort = say_hello(
            self._exchange,
            aggregator,
            secure=self._secure,
            timeout=timeout,
            least=least,
            poll=self._poll,
            watch=self._watch,
            without=without,
        )
        if self._secure:
            try:
                exchange_shares(self._exchange, aggregator, cohort, timeout, self._watch)
            except CohortRefused as error:
                if least is None or without or not error.lost or self.opened > self._changes:
                    raise
                return self._open(timeout, least, {name: cohort.nodes[name] for name in error.lost})
        else:
            cohort.check_names()
        steps = Steps(
            self._exchange,
            aggregator,
            cohort,
            secure=self._secure,
            traffic=self._traffic,
            grace=self._grace,
            unmask_timeout=self._unmask_timeout,
            watch=self._watch,
        )
        return aggregator, cohort, steps
