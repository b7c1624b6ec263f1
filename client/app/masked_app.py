"""The pod's half of secure aggregation, for any Flower app: plain handlers in, masked handlers out.

::

    app = ClientApp()
    masked = MaskedApp(app, owner=find_owner)

    @masked.train()
    def train(message: Message, context: Context) -> Message: ...   # an ordinary Flower handler

What the handler returns never leaves the process: its arrays and metrics are encoded, masked and sent as one vector.
An exception of the handler's is logged at the pod; the server is told that the pod could not answer, and no more. Every
message has its entry in the owner's ledger before anything is said to it.
"""

import logging
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from client.app.call import Call
from client.app.handler_values import Values, examples_of, metric_values, update_of
from client.app.owner import Owner, installed, write_log
from client.app.policy_checks import check_app, check_plain, check_request, check_settings
from fl_app.flower import records
from fl_app.flower.names import (
    EVALUATE,
    EVALUATE_MEAN,
    HELLO_MESSAGE,
    MASKED_MESSAGES,
    PLAIN_MESSAGES,
    ROSTER_MESSAGE,
    STATISTICS,
    SURVIVORS_MESSAGE,
    TRAIN,
    UNMASK_MESSAGE,
    UPDATE,
    WEIGHT,
)
from fl_app.secagg.errors import MalformedMessage, ProtocolError, SessionRefused
from fl_app.secagg.ledger_protocol import Account
from fl_app.secagg.messages import Parameters, Step, SurvivorsRequest, UnmaskRequest
from fl_app.secagg.pod_session import PodSession
from fl_app.secagg.unmasking import unmask, witness

Handler = Callable[[Message, Context], Message]
UNNAMED = "unnamed"  # a pod that cannot say who it is: its own file or key is at fault
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
        self._register(HELLO_MESSAGE, self._hello)
        self._register(ROSTER_MESSAGE, self._roster)
        self._register(SURVIVORS_MESSAGE, self._survivors)
        self._register(UNMASK_MESSAGE, self._unmask)
        for kind, message_type in MASKED_MESSAGES.items():
            self._register(message_type, self._masked(kind))
            self._register(PLAIN_MESSAGES[kind], self._plain(kind))

    def train(self) -> Callable[[Handler], Handler]:
        """Register the training handler: one ArrayRecord in, one out, ``num-examples`` among its metrics."""
        return self._take(TRAIN)

    def evaluate(self) -> Callable[[Handler], Handler]:
        """Register the evaluation handler; it is called with the train request too, to evaluate what came in."""
        return self._take(EVALUATE)

    def statistics(self) -> Callable[[Handler], Handler]:
        """Register the statistics handler, whose metrics are sums."""
        return self._take(STATISTICS)

    def _take(self, kind: str) -> Callable[[Handler], Handler]:
        def take(handler: Handler) -> Handler:
            self._handlers[kind] = handler
            return handler

        return take

    def _register(self, message_type: str, answer: Callable[[Call], RecordDict]) -> None:
        category, action = message_type.split(".")
        register = {"query": self._app.query, "train": self._app.train, "evaluate": self._app.evaluate}[category]

        @register(action)
        def handle(message: Message, context: Context) -> Message:
            return Message(self._guarded(message, context, answer), reply_to=message)

    def _guarded(self, message: Message, context: Context, answer: Callable[[Call], RecordDict]) -> RecordDict:
        """Return the answer, or a refusal made of public things; whatever else goes wrong stays in the pod's log."""
        try:
            owner = self._owner(context)
        except Exception:
            _log.exception("a pod cannot tell in whose name to answer")
            return records.put(RecordDict(), _no_answer(UNNAMED))
        call = Call(message, context, owner, Account(str(context.run_id)), message.metadata.message_type)
        try:
            return self._entered(call, answer)
        except ProtocolError as error:  # the ledger takes no entry
            refused = records.refusal(owner.name, error)
        except Exception:
            _log.exception("pod '%s' cannot enter why it does not answer", owner.name)
            refused = _no_answer(owner.name)
        return records.put(RecordDict(), refused)

    def _entered(self, call: Call, answer: Callable[[Call], RecordDict]) -> RecordDict:
        """Return the answer, or a refusal that is in the ledger."""
        name, ledger = call.owner.name, call.owner.ledger
        try:
            call.check_awake()
            return answer(call)
        except ProtocolError as error:
            _log.warning("pod '%s' refuses: %s", name, error)
            refused = records.refusal(name, error)
            ledger.enter_refusal(call.account, call.kind, call.round, str(error), len(refused.to_bytes()))
        except Exception:
            _log.exception("pod '%s' cannot answer", name)
            if call.owner.log is not None:
                write_log(call.owner.log, traceback.format_exc())
            refused = _no_answer(name)
            size = len(refused.to_bytes())
            ledger.enter(call.account, "failure", call.kind, round=call.round, size=size)
        return records.put(RecordDict(), refused)

    def _hello(self, call: Call) -> RecordDict:
        owner, known = call.owner, call.remembered()
        request = records.take(call.message.content, records.HelloRequest)
        parameters = request.parameters
        call.account = Account(call.account.run, parameters.series)
        check_app(owner, parameters)
        if parameters.steps and owner.name not in parameters.pods:
            return call.give("bystander", records.Bystander(owner.name))
        approves = tuple(pod for pod in parameters.pods if pod in owner.cohort.approved)
        published = records.Published(owner.schema(), approves, installed()).to_bytes()
        fresh = PodSession.open(owner.name, owner.signer, request.session, parameters, published, b"")
        if not parameters.steps:  # only a look at what pods publish: no session begins
            return call.give("look", fresh.own)
        if known and known.own.session == request.session and known.parameters == parameters:
            return call.give("hello", call.session().own)
        if known and known.parameters != parameters:
            raise SessionRefused("the parameters are not those that this run began with")
        check_request(owner, parameters, request.secure, str(call.context.run_id))
        keys = {pod: owner.cohort.approved.get(pod, owner.signer.public_bytes) for pod in parameters.pods}
        account = Account(parameters.run, parameters.series, keys)
        size, head = len(fresh.own.to_bytes()), known.head if known else b""
        head = owner.ledger.enter_session(account, request.session, head, at_most=owner.sessions, size=size)
        call.save(fresh.at(head))
        return records.put(RecordDict(), fresh.own)

    def _roster(self, call: Call) -> RecordDict:
        hellos = records.take(call.message.content, records.RosterRequest).hellos
        session = call.session().accept_roster(hellos, call.owner.signer, call.owner.cohort)
        call.account, reply = session.account, records.RosterReply(session.sealed)
        head = call.enter("roster", reply, detail=session.joined().digest, head=session.head)
        call.save(session.at(head))
        return records.put(RecordDict(), reply)

    def _survivors(self, call: Call) -> RecordDict:
        request, owner = records.take(call.message.content, SurvivorsRequest), call.owner
        session, signed = witness(call.session(), request, owner.cohort, owner.ledger, owner.signer)
        call.save(session)
        return records.put(RecordDict(), signed)

    def _unmask(self, call: Call) -> RecordDict:
        request, owner = records.take(call.message.content, UnmaskRequest), call.owner
        session, reply = unmask(call.session(), request, owner.cohort, owner.ledger, owner.signer)
        call.save(session.closed() if session.over else session)
        return records.put(RecordDict(), reply)

    def _masked(self, kind: str) -> Callable[[Call], RecordDict]:
        def answer(call: Call) -> RecordDict:
            step, session = _step(call.message, kind), call.session()
            shares = records.take_shares(call.message.content)
            if shares is not None:
                session = session.accept_shares(shares)
            check_settings(session.parameters, call.message.content)
            request = records.request_digest(call.message.content)
            session = session.begin(step, request, call.owner.ledger)
            weight, values = self._compute(call, session, step)
            session, vector, reply = session.mask(step, request, weight, values, call.owner.ledger, call.owner.signer)
            call.save(session.closed() if session.over and not reply.shares else session)
            return records.put_vector(records.put(RecordDict(), reply), vector)

        return answer

    def _plain(self, kind: str) -> Callable[[Call], RecordDict]:
        """Return the handler of the same step in the clear, for owners whose policy does not forbid it."""

        def answer(call: Call) -> RecordDict:
            check_plain(call.owner)
            step, session = _step(call.message, kind), call.session()
            session.check_step_in_clear(step)
            check_settings(session.parameters, call.message.content)
            request = records.request_digest(call.message.content)
            said = (session.account, kind, step.round, request)
            session = session.at(call.owner.ledger.enter_begin(*said, session.head))
            weight, values = self._compute(call, session, step)
            arrays = {name: np.asarray(array[:]) for name, array in values.items()} | {WEIGHT: np.array([weight])}
            size = sum(array.nbytes for array in arrays.values())
            call.save(session.at(call.owner.ledger.enter_answer(*said, session.head, size)))
            return records.put_values(RecordDict(), arrays)

        return answer

    def _compute(self, call: Call, session: PodSession, step: Step) -> tuple[int, Values]:
        """Return the weight and values of a step that has begun, if its owner still wants it answered after that."""
        call.save(session)
        call.kind, call.round = step.kind, step.round
        weight, values = self._values(call.message, call.context, session.parameters, step)
        call.owner = self._owner(call.context)
        call.check_awake()
        call.session()
        return weight, values

    def _values(self, message: Message, context: Context, parameters: Parameters, step: Step) -> tuple[int, Values]:
        """Run the plain handlers and return the weight and the values of the step's segments."""
        segments = step.segments(parameters.step(step.kind))
        weight = 0
        values: dict[str, Any] = {}
        if any(segment.name.startswith(f"{EVALUATE}.") for segment in segments):
            reply = self._run(EVALUATE, message, context)
            values.update(metric_values(reply, segments, EVALUATE))
            values.update(metric_values(reply, segments, EVALUATE_MEAN, factor=examples_of(reply)))
        if step.kind == STATISTICS:
            values.update(metric_values(self._run(STATISTICS, message, context), segments, STATISTICS))
        if step.kind == TRAIN:
            reply = self._run(TRAIN, message, context)
            weight = examples_of(reply) if parameters.weighting == "examples" else 1
            values[UPDATE] = update_of(message.content, reply)
            values.update(metric_values(reply, segments, TRAIN))
        return weight, values

    def _run(self, kind: str, message: Message, context: Context) -> RecordDict:
        if kind not in self._handlers:
            raise SessionRefused(f"this app has no '{kind}' handler")
        return self._handlers[kind](message, context).content


def _no_answer(name: str) -> records.Refusal:
    return records.Refusal(name, "pod-error", f"pod '{name}' could not answer; its own log says why")


def _step(message: Message, kind: str) -> Step:
    step = records.take(message.content, Step)
    if step.kind != kind:
        raise MalformedMessage(f"a '{step.kind}' step came as a '{kind}' message")
    return step
