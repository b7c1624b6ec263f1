"""The pod's half of secure aggregation, for any Flower app: plain handlers in, masked handlers out.

::

    app = ClientApp()
    masked = MaskedApp(app, owner=find_owner)

    @masked.train()
    def train(message: Message, context: Context) -> Message: ...   # an ordinary Flower handler

The values that a handler returns never leave the process: its arrays and metrics are encoded, masked and sent as one
vector. An exception of a handler is logged at the pod; the server is told that the pod could not answer, and no more.
Every message is entered in the owner's ledger before its answer leaves.

The way of one training message: `MaskedApp._reply` finds the owner, `_answer_masked` checks what is requested
(`policy_checks`; in a verified session `follower`, which makes what the handlers are given), spends the step in the
ledger, runs the app's handlers (`handler_values`) and masks what they return (`PodSession.mask`). `Call` holds what
belongs to the message on its way.
"""

import logging
import traceback
from collections.abc import Callable
from functools import partial

import numpy as np
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from client.app.budget import Charge
from client.app.call import Call
from client.app.follower import Follower
from client.app.handler_values import Handler, Handlers, Values
from client.app.ledger_entries import IN_CLEAR
from client.app.owner import Owner, installed, write_log
from client.app.policy_checks import (
    ImpliedParameters,
    RequestedTraining,
    RunCost,
    bound_settings,
    charge_of,
    check_app,
    check_budget,
    check_plain,
    check_request,
    check_settings,
)
from fl_app.errors import DataError
from fl_app.flower import names, records
from fl_app.flower.packing import unpacked
from fl_app.replica.rule import Rule
from fl_app.secagg.errors import MalformedMessage, PolicyRefused, ProtocolError, SessionRefused
from fl_app.secagg.ledger_protocol import Account
from fl_app.secagg.messages import Parameters, Step, SurvivorsRequest, UnmaskRequest
from fl_app.secagg.pod_session import PodSession
from fl_app.secagg.unmasking import unmask, witness
from fl_app.system.printable import one_line

UNNAMED = "unnamed"  # a pod that cannot say who it is: its own file or key is at fault
Answer = Callable[[Call], RecordDict]
_log = logging.getLogger("fl_app.pod")


class MaskedApp:
    """Masked handlers on a ClientApp.

    Parameters
    ----------
    app : ClientApp
        The app on which the protocol's handlers are registered.
    owner : callable
        Finds, from Flower's context, the owner in whose name to answer.
    rule : Rule, optional
        How the app's runs are followed. With it the pods take part in verified sessions only: all that a handler is
        given they have made themselves, of what they publish and of sums that the server proves. Without it handlers
        are given what the server sends, and a server that lies chooses the model that is trained.
    requested_training : callable, optional
        Reads how much training a run's settings ask for, so that the owner's limits on it can be kept; see
        `client.app.policy_checks.RequestedTraining`. A session that binds no settings that it can read is refused, and
        so is a step under others. Without it only the rounds of a run are limited.
    implied_parameters : callable, optional
        Computes the parameters that a session under a run's settings has; see
        `client.app.policy_checks.ImpliedParameters`. A session with others is refused. Without it the server chooses
        bounds, and what a pod refuses tells it which of the pod's values are beyond them.
    cost : callable, optional
        Computes what a run under its settings costs an owner's privacy budget; see `client.app.policy_checks.RunCost`.
        The handlers of a private run must add noise accordingly. Without it no run is private, and an owner who has set
        a budget takes part in none.
    """

    def __init__(
        self,
        app: ClientApp,
        owner: Callable[[Context], Owner],
        requested_training: RequestedTraining | None = None,
        implied_parameters: ImpliedParameters | None = None,
        rule: Rule | None = None,
        cost: RunCost | None = None,
    ) -> None:
        self._app, self._owner, self._rule, self._cost = app, owner, rule, cost
        self._requested_training, self._implied_parameters = requested_training, implied_parameters
        self._handlers = Handlers()
        self._register(names.HELLO_MESSAGE, self._answer_hello)
        self._register(names.ROSTER_MESSAGE, self._answer_roster)
        self._register(names.SURVIVORS_MESSAGE, self._answer_survivors)
        self._register(names.UNMASK_MESSAGE, self._answer_unmask)
        for kind, message_type in names.MASKED_MESSAGES.items():
            self._register(message_type, partial(self._answer_masked, kind=kind))
            self._register(names.PLAIN_MESSAGES[kind], partial(self._answer_plain, kind=kind))

    # -- what an app registers

    def train(self, *, evaluates: bool = False) -> Callable[[Handler], Handler]:
        """Register the training handler: one ArrayRecord in, one out, ``num-examples`` among its metrics.

        Parameters
        ----------
        evaluates : bool
            The handler itself evaluates the parameters that came in, and replies with those metrics in a second
            MetricRecord, ``evaluate``: a network that is expensive to build is then built once a message. By default
            the evaluation handler is called with the training request first.
        """
        self._handlers.train_evaluates = evaluates
        return partial(self._take, names.TRAIN)

    def evaluate(self) -> Callable[[Handler], Handler]:
        """Register the evaluation handler, for the final model and for the parameters of a training request."""
        return partial(self._take, names.EVALUATE)

    def statistics(self) -> Callable[[Handler], Handler]:
        """Register the statistics handler, whose metrics are sums."""
        return partial(self._take, names.STATISTICS)

    def _take(self, kind: str, handler: Handler) -> Handler:
        self._handlers.add(kind, handler)
        return handler

    # -- from a message to a reply: an answer, or a refusal made of public things

    def _register(self, message_type: str, answer: Answer) -> None:
        category, action = message_type.split(".")
        register = {"query": self._app.query, "train": self._app.train, "evaluate": self._app.evaluate}[category]

        @register(action)
        def handle(message: Message, context: Context) -> Message:
            return Message(self._reply(message, context, answer), reply_to=message)

    def _reply(self, message: Message, context: Context, answer: Answer) -> RecordDict:
        """Return the answer or a refusal; raise nothing, since Flower would send the text of any exception."""
        try:
            owner = self._owner(context)
        except Exception as error:
            _log.exception("a pod cannot tell in whose name to answer")
            return records.put(RecordDict(), records.no_answer(UNNAMED, error))
        call = Call(message, context, owner, Account(str(context.run_id)), message.metadata.message_type)
        try:
            return self._entered(call, answer)
        except ProtocolError as error:  # the ledger takes no entry
            refusal = records.refusal(owner.name, error)
        except Exception as error:
            _log.exception("pod '%s' cannot enter why it does not answer", owner.name)
            refusal = records.no_answer(owner.name, error)
        return records.put(RecordDict(), refusal)

    def _entered(self, call: Call, answer: Answer) -> RecordDict:
        """Return the answer, or a refusal that is in the ledger.

        A `ProtocolError` is made of public things and may be told. Any other exception may quote data or paths: its
        text goes to the pod's own log alone.
        """
        name, ledger = call.owner.name, call.owner.ledger
        try:
            call.check_awake()
            call.message.content = unpacked(call.message.content)
            return answer(call)
        except ProtocolError as error:
            _log.warning("pod '%s' refuses: %s", name, one_line(error))
            call.end_step(error)
            refusal = records.refusal(name, error)
            ledger.enter_refusal(call.account, call.kind, call.round, str(error), len(refusal.to_bytes()))
        except Exception as error:
            _log.exception("pod '%s' cannot answer", name)
            if call.owner.log is not None:
                in_full = f"in full: {error.full_text}\n" if isinstance(error, DataError) and error.detail else ""
                write_log(call.owner.log, traceback.format_exc() + in_full)
            call.end_step(error)
            refusal = records.no_answer(name, error)
            size = len(refusal.to_bytes())
            ledger.enter(call.account, "failure", call.kind, round=call.round, size=size)
        return records.put(RecordDict(), refusal)

    # -- hello, roster and the opening of a sum

    def _answer_hello(self, call: Call) -> RecordDict:
        owner, known = call.owner, call.remembered()
        request = records.take(call.message.content, records.HelloRequest)
        parameters = request.parameters
        call.account = Account(call.account.run, parameters.series)
        check_app(owner, parameters)
        if parameters.steps and owner.name not in parameters.pods:
            return call.give("bystander", records.Bystander(owner.name))
        published = self._published(owner, request)
        opened = partial(
            PodSession.open, owner.name, owner.signer, request.session, parameters, published.digest(), b""
        )
        if not parameters.steps:  # schema discovery: the pod publishes, and no session begins
            return call.give_hello("look", opened().own, published)
        if known and known.own.session == request.session and known.parameters == parameters:
            # Asked again: the same keys, which may be in a roster by now, and what was signed with them.
            if call.session().own.published != published.digest():
                raise SessionRefused(f"pod '{owner.name}' publishes something else now than when this session began")
            return call.give_hello("hello", call.session().own, published)
        if known and known.parameters != parameters:
            raise SessionRefused("the parameters are not those that this run began with")
        hooks = self._requested_training, self._implied_parameters
        check_request(owner, parameters, request.secure, str(call.context.run_id), *hooks)
        check_budget(owner, parameters, request.secure, self._cost)
        follower = self._follower(call, parameters, request.secure)
        if follower:
            follower.take_proof(call.message.content)
        fresh = opened(*follower.stated()) if follower else opened()
        keys = {pod: owner.approved.get(pod, owner.signer.public_bytes) for pod in parameters.pods}
        account = Account(parameters.run, parameters.series, keys)
        size, head = len(fresh.own.to_bytes()) + len(published.to_bytes()), known.head if known else b""
        head = owner.ledger.enter_session(account, request.session, head, at_most=owner.sessions, size=size)
        call.save(fresh.at(head))
        return records.put_published(records.put(RecordDict(), fresh.own), published)

    def _answer_roster(self, call: Call) -> RecordDict:
        hellos, known = records.take(call.message.content, records.RosterRequest).hellos, call.session()
        if known.parameters.verified and (follower := self._follower(call, known.parameters, secure=True)):
            follower.check_roster(hellos)
        session = known.accept_roster(hellos, call.owner.signer, call.owner.cohort)
        call.account, reply = session.account, records.RosterReply(session.sealed)
        head = call.enter("roster", reply, detail=session.joined().digest, head=session.head)
        call.save(session.at(head))
        return records.put(RecordDict(), reply)

    def _answer_survivors(self, call: Call) -> RecordDict:
        request, owner = records.take(call.message.content, SurvivorsRequest), call.owner
        session, signed = witness(call.session(), request, owner.cohort, owner.ledger, owner.signer)
        call.save(session)
        return records.put(RecordDict(), signed)

    def _answer_unmask(self, call: Call) -> RecordDict:
        request, owner = records.take(call.message.content, UnmaskRequest), call.owner
        session, reply = unmask(call.session(), request, owner.cohort, owner.ledger, owner.signer)
        call.save(session.closed() if session.over else session)
        return records.put(RecordDict(), reply)

    # -- a step: statistics, training or evaluation

    def _answer_masked(self, call: Call, kind: str) -> RecordDict:
        """Answer a step with a masked vector."""
        # A step of this session, under the settings that the session is bound to.
        step, session, content = _step(call.message, kind), call.session(), call.message.content
        if (shares := records.take_shares(content)) is not None:
            session = session.accept_shares(shares)
        followed, follower = b"", self._follower(call, session.parameters, secure=True)
        if follower:
            replica, call.message.content = follower.prepare(content, session, step)
            followed = replica.digest
        else:
            check_settings(session.parameters, content, required=self._requested_training is not None)
        # Spent in the ledger before anything is computed for it. Were it spent with its answer, a pod that failed or
        # was killed in between could be asked for the same round again, with another model.
        request = records.request_digest(content)
        charge = charge_of(call.owner, session.parameters, kind, self._cost)
        ledger = call.owner.ledger.charging(charge) if charge else call.owner.ledger
        session = session.begin(step, request, ledger, followed)
        weight, values = self._compute(call, session, step, charge)
        # Masked, signed and entered. Without self masks nothing is left to be unmasked after the last step.
        answer = (step, request, weight, values, call.owner.ledger, call.owner.signer, followed)
        session, vector, reply = session.mask(*answer)
        if follower:
            follower.expect(session, step)
        call.save(session.closed() if session.over and not reply.shares else session)
        return records.put_vector(records.put(RecordDict(), reply), vector)

    def _answer_plain(self, call: Call, kind: str) -> RecordDict:
        """Answer the same step in the clear, for an owner whose policy does not forbid it."""
        check_plain(call.owner)
        step, session, content = _step(call.message, kind), call.session(), call.message.content
        check_budget(call.owner, session.parameters, False, self._cost)
        session.check_step_in_clear(step)
        check_settings(session.parameters, content, required=self._requested_training is not None)
        entry = (session.account, kind, step.round, records.request_digest(content))
        session = session.at(call.owner.ledger.enter_begin(*entry, session.head))
        weight, values = self._compute(call, session, step)
        arrays = {name: np.asarray(array[:]) for name, array in values.items()} | {names.WEIGHT: np.array([weight])}
        size = sum(array.nbytes for array in arrays.values())
        call.save(session.at(call.owner.ledger.enter_answer(*entry, session.head, size, IN_CLEAR)))
        return records.put_values(RecordDict(), arrays)

    def _published(self, owner: Owner, request: records.HelloRequest) -> records.Published:
        """Return what the pod shows for a hello, which proposes what the run's settings propose and nothing else."""
        parameters = request.parameters
        approves = tuple(pod for pod in parameters.pods if pod in owner.approved)
        settings = bound_settings(parameters)
        if self._rule is None or settings is None or not parameters.steps:
            return records.Published(owner.schema(request.proposal), approves, installed())
        if request.proposal != self._rule.proposal(settings):
            raise SessionRefused("the hello proposes something else than the settings of the run")
        return records.Published(owner.schema(request.proposal), approves, installed(), owner.declares(settings))

    def _follower(self, call: Call, parameters: Parameters, secure: bool) -> Follower | None:
        """Return what follows a verified session; None where nothing does, with vectors in the clear or without a rule.

        Raises
        ------
        PolicyRefused
            If the session is verified and the app cannot follow it, or the other way round.
        """
        if parameters.verified != (secure and self._rule is not None):
            raise PolicyRefused(
                f"pod '{call.owner.name}' takes part in verified sessions only"
                if secure and self._rule
                else f"pod '{call.owner.name}' cannot follow this run: its app has no rule for it"
            )
        if self._rule is None or not parameters.verified:
            return None
        return Follower.of(self._rule, call, parameters)

    def _compute(self, call: Call, session: PodSession, step: Step, charge: Charge | None = None) -> tuple[int, Values]:
        """Return the weight and values of a step that has begun, if its owner still wants it answered after that."""
        call.save(session)
        call.kind, call.round = step.kind, step.round
        weight, values = self._handlers.values(call.message, call.context, session.parameters, step)
        # Training takes its time: the owner may have paused the pod or taken an approval back meanwhile.
        call.owner = self._owner(call.context)
        call.check_awake()
        call.session()
        if charge and call.owner.frame() != charge.frame:
            raise PolicyRefused("the table of the pod has changed while a private step was computed of it")
        return weight, values


def _step(message: Message, kind: str) -> Step:
    step = records.take(message.content, Step)
    if step.kind != kind:
        raise MalformedMessage(f"a '{step.kind}' step came as a '{kind}' message")
    return step
