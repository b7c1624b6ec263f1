"""The sessions of a run: one at the start, and another whenever pods were lost and the rest go on."""

from collections.abc import Mapping
from types import MappingProxyType

from flwr.app import RecordDict
from flwr.serverapp import Grid

from fl_app.errors import RunFailed
from fl_app.flower import records
from fl_app.flower.names import ROSTER_MESSAGE
from fl_app.flower.protocol_settings import Timing
from fl_app.replica.state import Replica
from fl_app.secagg.aggregator import Aggregator
from fl_app.secagg.errors import ProtocolError
from fl_app.secagg.field import Words
from fl_app.secagg.messages import Parameters, Proof
from strategies.cohort import Cohort, CohortRefused
from strategies.hello import say_hello
from strategies.polling import Exchange, OnWait
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
    timing : Timing
        ``hello`` applies to the first session, which needs every requested pod, and ``rejoin`` to later ones.
    membership_changes : int
        Most sessions after the first.
    on_wait : callable
        Called with a trip and the pods whose replies are outstanding.
    proposal : str
        What is proposed to the pods for what they publish.
    proof : pair or None
        In a resumed run, the proof of the step that was completed last, and its sum.

    Attributes
    ----------
    aggregator, cohort
        Of the current session.
    opened : int
        Number of sessions so far.
    traffic : dict of str to Traffic
        What each kind of trip has cost so far, in all sessions.
    proof : pair or None
        The proof of the step that was completed last, and its sum. Pods are told it with the next step, or with the
        hello of a new session.

    Raises
    ------
    CohortRefused
        If the first session cannot be opened.
    """

    def __init__(
        self,
        grid: Grid,
        parameters: Parameters,
        *,
        secure: bool,
        timing: Timing,
        membership_changes: int,
        on_wait: OnWait,
        proposal: str = "",
        proof: tuple[Proof, Words] | None = None,
    ) -> None:
        self._exchange, self._parameters, self._secure = Exchange(grid, timing.poll), parameters, secure
        self._timing, self._membership_changes, self._on_wait = timing, membership_changes, on_wait
        self._pods_lost, self._why, self._proposal = False, "", proposal
        self.traffic: dict[str, Traffic] = {}
        self.opened, self.proof, self._told = 0, proof, False
        self.aggregator, self.cohort, self._steps = self._open(timing.hello, at_least=None)

    def run(
        self,
        kind: str,
        round: int,
        content: RecordDict,
        sizes: Mapping[str, int],
        timeout: float,
        replica: Replica | None = None,
    ) -> StepResult:
        """Run one step, see `Steps.run`; a pod that was lost may be back in the session it runs in.

        Raises
        ------
        StepFailed
            If it cannot be completed; the next step opens a new session.
        CohortRefused, RunFailed
            If no new session can be opened.
        """
        self.renew()
        if self.proof and not self._told:
            content = records.put_proof(content, *self.proof)
        try:
            result = self._steps.run(kind, round, content, sizes, timeout, replica)
        except StepFailed as error:
            # Pods that have answered the round before are all there, and take the next one in the same session.
            self._pods_lost, self._why = not error.spent, str(error)
            raise
        self.proof, self._told = result.proof, False
        self._pods_lost, self._why = bool(result.lost), "; ".join(loss.why for loss in result.lost.values())
        return result

    def renew(self) -> None:
        """Open a new session if pods were lost in the last step."""
        if not self._pods_lost:
            return
        if self.opened > self._membership_changes:
            raise RunFailed(
                f"pods were lost {self.opened} times in this run, and {self._membership_changes} are allowed; "
                f"last: {self._why}"
            )
        try:
            self.aggregator, self.cohort, self._steps = self._open(self._timing.rejoin, at_least=2)
        except CohortRefused as error:
            why = f"pods were lost before: {self._why}"
            raise CohortRefused([why, *error.reasons], error.requested, error.approvals, error.lost) from error
        self._pods_lost = False

    def _open(
        self, timeout: float, at_least: int | None, without: Mapping[str, int] = MappingProxyType({})
    ) -> tuple[Aggregator, Cohort, Steps]:
        """Open a session; where not every pod is needed, those that fail at the roster are left out, once."""
        self.opened += 1
        aggregator = Aggregator(self._parameters)
        cohort = say_hello(
            self._exchange,
            aggregator,
            secure=self._secure,
            timeout=timeout,
            at_least=at_least,
            on_wait=self._on_wait,
            without=without,
            proposal=self._proposal,
            proof=self.proof,
        )
        self._told = True
        if self._secure:
            try:
                self._exchange_shares(aggregator, cohort, timeout)
            except CohortRefused as error:
                if at_least is None or without or not error.lost or self.opened > self._membership_changes:
                    raise
                return self._open(timeout, at_least, {name: cohort.nodes[name] for name in error.lost})
        else:
            cohort.check_names()
        steps = Steps(
            self._exchange,
            aggregator,
            cohort,
            secure=self._secure,
            timing=self._timing,
            traffic=self.traffic,
            on_wait=self._on_wait,
        )
        return aggregator, cohort, steps

    def _exchange_shares(self, aggregator: Aggregator, cohort: Cohort, timeout: float) -> None:
        """Send the roster to all, and take from each its sealed shares for the others.

        Raises
        ------
        CohortRefused
            If a pod refuses the roster or does not answer in time, or if a node has taken a pod's name.
        """
        roster = aggregator.make_roster(list(cohort.hellos.values()))
        names = {node: name for name, node in cohort.nodes.items()}
        message = records.RosterRequest(roster.hellos)
        try:
            records.check_size(f"the roster of {len(roster.hellos)} pods", len(message.to_bytes()), ": ask fewer pods")
        except ProtocolError as error:
            raise CohortRefused([str(error)], roster.names, cohort.approvals) from error
        request = records.put(RecordDict(), message)
        reasons = dict[str, str]()
        replies = self._exchange.ask(
            dict.fromkeys(names, request),
            ROSTER_MESSAGE,
            timeout,
            on_wait=lambda nodes: self._on_wait("roster", [names[node] for node in nodes]),
        )
        for reply in replies:
            name = names[reply.node]
            if refused := reply.refusal():
                reasons[name] = refused.text
            elif reply.content is None:
                reasons[name] = f"pod '{name}': {reply.failure}"
            else:
                try:
                    aggregator.take_shares(name, records.take(reply.content, records.RosterReply).shares)
                except ProtocolError as error:
                    reasons[name] = f"pod '{name}': {error}"
        if cohort.misnamed:  # only now: the pods have seen the roster too, and their ledgers have their refusals
            others = [text for text in reasons.values() if text not in cohort.misnamed.values()]
            lost = list({**cohort.misnamed, **reasons})
            raise CohortRefused([*cohort.misnamed.values(), *others], roster.names, cohort.approvals, lost)
        if reasons:
            raise CohortRefused(list(reasons.values()), roster.names, cohort.approvals, list(reasons))
