"""The pod's half of secure aggregation, for any Flower app: plain handlers in, masked handlers out.

::

    app = ClientApp()
    masked = MaskedApp(app, owner=find_owner)

    @masked.train()
    def train(message: Message, context: Context) -> Message: ...   # an ordinary Flower handler

What the handler returns never leaves the process: its arrays and metrics are encoded, masked and sent as one vector.
An exception of the handler's is logged at the pod; the server is told that the pod could not answer, and no more.
"""

import logging
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from client.owner import Owner, write_log
from client.values import Values, examples_of, metric_values, update_of
from fl_app import wire
from fl_app.secagg.errors import MalformedMessage, NotApproved, PolicyRefused, ProtocolError, SessionRefused
from fl_app.secagg.messages import Parameters, Step, SurvivorsRequest, UnmaskRequest
from fl_app.secagg.recovery import unmask, witness
from fl_app.secagg.roster import check_cohort, threshold_for
from fl_app.secagg.session import PodSession

Handler = Callable[[Message, Context], Message]
UNNAMED = "unnamed"  # a pod that cannot say who it is: its own file or key is at fault
_STATE, _SESSION = "fl-app-secagg", "session"
_log = logging.getLogger("fl_app.pod")


class MaskedApp:
    """Masked handlers on a ClientApp.

    Parameters
    ----------
    app : ClientApp
        The app on which the protocol's handlers are registered.
    owner : callable
        Finds, from Flower's context, the owner in whose name to answer.
    """

    def __init__(self, app: ClientApp, owner: Callable[[Context], Owner]) -> None:
        self._app, self._owner = app, owner
        self._handlers: dict[str, Handler] = {}
        self._register(wire.HELLO, self._hello)
        self._register(wire.ROSTER, self._roster)
        self._register(wire.SURVIVORS, self._survivors)
        self._register(wire.UNMASK, self._unmask)
        for kind, message_type in wire.KINDS.items():
            self._register(message_type, self._masked(kind))
            self._register(wire.PLAIN[message_type], self._plain(kind))

    def train(self) -> Callable[[Handler], Handler]:
        """Register the training handler: one ArrayRecord in, one out, ``num-examples`` among its metrics."""
        return self._take("train")

    def evaluate(self) -> Callable[[Handler], Handler]:
        """Register the evaluation handler; it is called with the train request too, to evaluate what came in."""
        return self._take("evaluate")

    def statistics(self) -> Callable[[Handler], Handler]:
        """Register the statistics handler, whose metrics are sums."""
        return self._take("statistics")

    def _take(self, kind: str) -> Callable[[Handler], Handler]:
        def take(handler: Handler) -> Handler:
            self._handlers[kind] = handler
            return handler

        return take

    def _register(self, message_type: str, answer: Callable[[Message, Context, Owner], RecordDict]) -> None:
        category, action = message_type.split(".")
        register = {"query": self._app.query, "train": self._app.train, "evaluate": self._app.evaluate}[category]

        @register(action)
        def handle(message: Message, context: Context) -> Message:
            return Message(self._guarded(message, context, answer), reply_to=message)

    def _guarded(
        self, message: Message, context: Context, answer: Callable[[Message, Context, Owner], RecordDict]
    ) -> RecordDict:
        """Return the answer, or a refusal made of public things; whatever else goes wrong stays in the pod's log."""
        name, log = UNNAMED, None
        try:
            owner = self._owner(context)
            name, log = owner.name, owner.log
            try:
                return answer(message, context, owner)
            except ProtocolError as error:
                owner.ledger.enter_refusal(str(context.run_id), message.metadata.message_type, 0, str(error))
                raise
        except ProtocolError as error:
            _log.warning("pod '%s' refuses: %s", name, error)
            refused = wire.refusal(name, error)
        except Exception:
            _log.exception("pod '%s' cannot answer", name)
            if log is not None:
                write_log(log, traceback.format_exc())
            refused = wire.Refusal(name, "pod-error", f"pod '{name}' could not answer; its own log says why")
        return wire.put(RecordDict(), refused)

    def _hello(self, message: Message, context: Context, owner: Owner) -> RecordDict:
        request = wire.take(message.content, wire.HelloRequest)
        parameters, known = request.parameters, _load(context)
        if parameters.steps and owner.name not in parameters.pods:
            return wire.put(RecordDict(), wire.Bystander(owner.name))
        approves = tuple(pod for pod in parameters.pods if pod in owner.cohort.approved)
        published = wire.Published(owner.schema(), approves).to_bytes()
        if not parameters.steps:  # only a look at what pods publish: no session begins
            owner.ledger.enter_look(str(context.run_id))
            own = PodSession.open(owner.name, owner.signer, request.session, parameters, published, b"").own
            return wire.put(RecordDict(), own)
        if known and known.own.session == request.session and known.parameters == parameters:
            return wire.put(RecordDict(), known.own)
        if known and known.parameters != parameters:
            raise SessionRefused("the parameters are not those that this run began with")
        _check_request(owner, parameters, request.secure, str(context.run_id))
        head = owner.ledger.enter_session(
            parameters.run, request.session, known.head if known else b"", at_most=owner.sessions
        )
        session = PodSession.open(owner.name, owner.signer, request.session, parameters, published, head)
        _save(context, session)
        return wire.put(RecordDict(), session.own)

    def _roster(self, message: Message, context: Context, owner: Owner) -> RecordDict:
        hellos = wire.take(message.content, wire.RosterRequest).hellos
        session = _current(context, owner).accept_roster(hellos, owner.signer, owner.cohort)
        _save(context, session)
        return wire.put(RecordDict(), wire.RosterReply(session.sealed))

    def _survivors(self, message: Message, context: Context, owner: Owner) -> RecordDict:
        request = wire.take(message.content, SurvivorsRequest)
        session, signed = witness(_current(context, owner), request, owner.cohort, owner.ledger, owner.signer)
        _save(context, session)
        return wire.put(RecordDict(), signed)

    def _unmask(self, message: Message, context: Context, owner: Owner) -> RecordDict:
        request = wire.take(message.content, UnmaskRequest)
        session, reply = unmask(_current(context, owner), request, owner.cohort, owner.ledger, owner.signer)
        _save(context, session.closed() if session.over else session)
        return wire.put(RecordDict(), reply)

    def _masked(self, kind: str) -> Callable[[Message, Context, Owner], RecordDict]:
        def answer(message: Message, context: Context, owner: Owner) -> RecordDict:
            step, session = _step(message, kind), _current(context, owner)
            shares = wire.take_shares(message.content)
            if shares is not None:
                session = session.accept_shares(shares)
            session.check_step(step)
            weight, values = self._values(message, context, session.parameters, step)
            request = wire.request_digest(message.content)
            session, vector, reply = session.mask(step, request, weight, values, owner.ledger, owner.signer)
            _save(context, session.closed() if session.over and not reply.shares else session)
            return wire.put_vector(wire.put(RecordDict(), reply), vector)

        return answer

    def _plain(self, kind: str) -> Callable[[Message, Context, Owner], RecordDict]:
        """Return the handler of the same step in the clear, for owners whose policy does not forbid it."""

        def answer(message: Message, context: Context, owner: Owner) -> RecordDict:
            _check_plain(owner)
            step, session = _step(message, kind), _current(context, owner)
            session.parameters.step(kind)
            weight, values = self._values(message, context, session.parameters, step)
            request = wire.request_digest(message.content)
            head = owner.ledger.enter_answer(session.parameters.run, kind, step.round, request, session.head)
            _save(context, session.at(head))
            arrays = {name: np.asarray(array[:]) for name, array in values.items()}
            return wire.put_values(RecordDict(), {**arrays, "weight": np.array([weight])})

        return answer

    def _values(self, message: Message, context: Context, parameters: Parameters, step: Step) -> tuple[int, Values]:
        """Run the plain handlers and return the weight and the values of the step's segments."""
        segments = step.segments(parameters.step(step.kind))
        weight = 0
        values: dict[str, Any] = {}
        if any(segment.name.startswith("evaluate.") for segment in segments):
            reply = self._run("evaluate", message, context)
            values.update(metric_values(reply, segments, "evaluate"))
            values.update(metric_values(reply, segments, "evaluate-mean", factor=examples_of(reply)))
        if step.kind == "statistics":
            values.update(metric_values(self._run("statistics", message, context), segments, "statistics"))
        if step.kind == "train":
            reply = self._run("train", message, context)
            weight = examples_of(reply) if parameters.weighting == "examples" else 1
            values["update"] = update_of(message.content, reply)
            values.update(metric_values(reply, segments, "train"))
        return weight, values

    def _run(self, kind: str, message: Message, context: Context) -> RecordDict:
        if kind not in self._handlers:
            raise SessionRefused(f"this app has no '{kind}' handler")
        return self._handlers[kind](message, context).content


def _check_request(owner: Owner, parameters: Parameters, secure: bool, run: str) -> None:
    """Raise unless the owner agrees to what is requested, as far as names tell; keys are checked on the roster."""
    if parameters.run != run:
        raise SessionRefused("the parameters name another run than the one this message belongs to")
    if not secure:
        _check_plain(owner)
    others = [pod for pod in parameters.pods if pod != owner.name]
    approved = [pod for pod in others if pod in owner.cohort.approved]
    if refused := [f"pod '{pod}'" for pod in others if pod not in approved]:
        raise NotApproved(f"pod '{owner.name}' does not approve {', '.join(refused)}", approved)
    pods = len(parameters.pods)
    check_cohort(owner.name, pods, pods, threshold_for(parameters.threshold, pods), owner.cohort)


def _check_plain(owner: Owner) -> None:
    if owner.require_secure_aggregation:
        raise PolicyRefused(f"pod '{owner.name}' takes part in secure aggregation only")


def _step(message: Message, kind: str) -> Step:
    step = wire.take(message.content, Step)
    if step.kind != kind:
        raise MalformedMessage(f"a '{step.kind}' step came as a '{kind}' message")
    return step


def _load(context: Context) -> PodSession | None:
    record = context.state.get(_STATE)
    data = record.get(_SESSION) if isinstance(record, ConfigRecord) else None
    return PodSession.from_bytes(data) if isinstance(data, bytes) else None


def _current(context: Context, owner: Owner) -> PodSession:
    session = _load(context)
    if session is None:
        raise SessionRefused(f"pod '{owner.name}' has no session in this run; it may have been restarted")
    return session


def _save(context: Context, session: PodSession) -> None:
    context.state[_STATE] = ConfigRecord({_SESSION: session.to_bytes()})
