"""The owner's terms, checked against what a run requests before anything of the pod goes into an answer.

A check reads public things only: the request, the names and keys of pods, and the owner's terms. Its refusal may be
told to the server as it stands.
"""

from collections.abc import Callable, Mapping
from typing import Any

from flwr.app import RecordDict

from client.app.budget import Charge, Part, check_frame, check_total
from client.app.owner import Owner
from fl_app.errors import FlAppError
from fl_app.flower.names import EVALUATE, RUN, STATISTICS, TRAIN
from fl_app.flower.protocol_settings import MAX_WEIGHTS
from fl_app.pod.policy import TRAINING_LIMITS, TrainingLimit
from fl_app.privacy.cost import Cost
from fl_app.secagg.canonical import decode
from fl_app.secagg.errors import NotApproved, PolicyRefused, SessionRefused
from fl_app.secagg.messages import Parameters
from fl_app.secagg.roster import check_cohort, threshold_for

RequestedTraining = Callable[[str], Mapping[TrainingLimit, int | None]]
"""Reads from a run's settings how much training they ask for: for each term of the policy that limits it the amount,
None where the run does not count it. Raises `FlAppError` if the settings cannot be read. It belongs to the app: the
settings are bound into the session as a text that only the app understands."""
ImpliedParameters = Callable[[str, int, int], Mapping[str, Any]]
"""Computes from a run's settings the parameters that a session under them has, by the names of `Parameters`' fields. It
is given the last training round that the session declares, and the last of the series that has begun at this pod."""
RunCost = Callable[[str], Cost | None]
"""Computes from a run's settings what it costs an owner's privacy budget; None for a run without privacy. Raises
`FlAppError` if the settings cannot be read."""
_PARTS: Mapping[str, Part] = {STATISTICS: "training", TRAIN: "training", EVALUATE: "held_out"}


def check_app(owner: Owner, parameters: Parameters) -> None:
    """Raise `PolicyRefused` unless the run is of the app that the owner's guard has verified, if there is one."""
    if owner.app and parameters.app != owner.app:
        raise PolicyRefused(f"pod '{owner.name}' runs version {owner.app[:12]} of the app, and the run names another")


def check_request(
    owner: Owner,
    parameters: Parameters,
    secure: bool,
    run: str,
    requested_training: RequestedTraining | None,
    implied_parameters: ImpliedParameters | None,
) -> None:
    """Raise unless the owner agrees to the request, as far as names tell; keys are checked on the roster."""
    if parameters.run != run:
        raise SessionRefused("the parameters name another run than the one this message belongs to")
    if not secure:
        check_plain(owner)
    others = [pod for pod in parameters.pods if pod != owner.name]
    approved = [pod for pod in others if pod in owner.approved]
    if refused := [f"pod '{pod}'" for pod in others if pod not in approved]:
        raise NotApproved(f"pod '{owner.name}' does not approve {', '.join(refused)}", approved)
    pods = len(parameters.pods)
    check_cohort(owner.name, pods, pods, threshold_for(parameters.threshold, pods), owner.cohort)
    check_limits(owner, parameters, requested_training)
    check_bounds(owner, parameters, implied_parameters)


def check_plain(owner: Owner) -> None:
    """Raise `PolicyRefused` unless the owner lets values leave in the clear."""
    if owner.policy.require_secure_aggregation:
        raise PolicyRefused(f"pod '{owner.name}' takes part in secure aggregation only")


def check_limits(owner: Owner, parameters: Parameters, requested_training: RequestedTraining | None) -> None:
    """Raise `PolicyRefused`, naming the term, if the run asks for more training than the owner allows.

    It asks twice: in the plan that it declares to the protocol, whatever the app, and in the settings that are bound
    into the session, which the app reads. An app that reads settings takes part in no session without them.
    """
    limits = owner.policy.training_limits()
    requested = _requested(owner, parameters, requested_training) if requested_training else {}
    if (most := limits.get("maximum_rounds")) is not None:
        declared = _declared_rounds(parameters) - owner.ledger.last_round(parameters.series)  # a resumed run goes on
        spare = owner.sessions - 1  # a round may be lost, and its number spent, at each membership change
        if declared > most + spare:
            raise PolicyRefused(
                f"pod '{owner.name}' takes part in at most {most} rounds a run and {spare} repeated ones "
                f"(maximum_rounds, maximum_membership_changes); this run declares {declared}"
            )
    for term, limit in limits.items():
        amount = requested.get(term)
        if amount is not None and amount > limit:
            raise PolicyRefused(
                f"pod '{owner.name}' takes part in at most {limit} {TRAINING_LIMITS[term]} ({term}); "
                f"this run asks for {amount}"
            )


def check_bounds(owner: Owner, parameters: Parameters, implied_parameters: ImpliedParameters | None) -> None:
    """Raise `PolicyRefused` if a bound is one that the server has chosen: each is a question about the pod's values.

    The largest weight is one of a few whatever the app. All else is as the app says that it follows from the settings.
    """
    if parameters.max_weight not in (1, *MAX_WEIGHTS):
        raise PolicyRefused(
            f"pod '{owner.name}' takes part in runs whose largest weight is one of {', '.join(map(str, MAX_WEIGHTS))}"
        )
    if implied_parameters is None:
        return
    begun = owner.ledger.last_round(parameters.series)
    try:
        implied = implied_parameters(bound_settings(parameters) or "", _declared_rounds(parameters), begun)
    except FlAppError as error:
        raise PolicyRefused(f"pod '{owner.name}' cannot read the run's settings") from error
    if others := [name for name, value in implied.items() if getattr(parameters, name) != value]:
        raise PolicyRefused(
            f"pod '{owner.name}' refuses a session whose {' and '.join(others)} are not those of its settings"
        )


def cost_of(owner: Owner, parameters: Parameters, secure: bool, run_cost: RunCost | None) -> Cost | None:
    """Return what a session's run costs, None for one without privacy that the owner allows.

    Raises
    ------
    PolicyRefused
        If the owner demands privacy and the run has none, or it has and its vectors would be in the clear: the noise of
        one pod hides none of that pod's rows.
    """
    settings = bound_settings(parameters)
    try:
        cost = run_cost(settings) if run_cost and settings is not None else None
    except (FlAppError, ValueError) as error:
        raise PolicyRefused(f"pod '{owner.name}' cannot read the run's settings, which say what it costs") from error
    if cost is None and owner.policy.epsilon is not None:
        raise PolicyRefused(
            f"pod '{owner.name}' takes part in private runs only: its owner has set epsilon {owner.policy.epsilon:g} "
            f"at delta {owner.policy.delta:g} for all runs together"
        )
    if cost is not None and not secure:
        raise PolicyRefused(f"pod '{owner.name}' takes part in private runs with secure aggregation only")
    return cost


def check_budget(owner: Owner, parameters: Parameters, secure: bool, run_cost: RunCost | None) -> None:
    """Raise `PolicyRefused`, saying what is left, if the run would exceed the owner's budget by its end.

    What the series has spent counts towards the run: a session that is opened anew and a run that is resumed go on
    with it. What cannot be foreseen here, such as another run at the same time, is refused at its step.
    """
    cost = cost_of(owner, parameters, secure, run_cost)
    if cost is None:
        return
    spent = owner.ledger.spent(parameters.series)
    check_frame(spent, owner.frame(), f"pod '{owner.name}'")
    check_total(owner.terms, spent, spent.foreseen(cost.total), f"at pod '{owner.name}' this run")


def charge_of(owner: Owner, parameters: Parameters, kind: str, run_cost: RunCost | None) -> Charge | None:
    """Return what a masked step is charged with when it begins; raises as `cost_of` does."""
    cost = cost_of(owner, parameters, True, run_cost)
    if cost is None:
        return None
    price = {STATISTICS: cost.statistics, TRAIN: cost.train, EVALUATE: cost.evaluate}[kind]
    return Charge(price, _PARTS[kind], owner.frame(), owner.terms, cost.total)


def check_settings(parameters: Parameters, content: RecordDict, *, required: bool) -> None:
    """Raise `SessionRefused` if a step is to run under other settings than those that are bound into the session.

    Parameters
    ----------
    required : bool
        Whether the step must name them: the app reads settings.
    """
    bound = bound_settings(parameters)
    named = [record[RUN] for record in content.config_records.values() if RUN in record]
    others = bound is not None and any(settings != bound for settings in named)
    if others or (required and not named):
        raise SessionRefused("the step names other settings of the run than those that the session began with")


def _requested(
    owner: Owner, parameters: Parameters, requested_training: RequestedTraining
) -> Mapping[TrainingLimit, int | None]:
    """Return what the bound settings ask for, under every term."""
    try:
        amounts = requested_training(bound_settings(parameters) or "")
        return {term: amounts[term] for term in TRAINING_LIMITS}
    except (FlAppError, KeyError) as error:  # a limit that cannot be compared with anything is not kept
        raise PolicyRefused(
            f"pod '{owner.name}' cannot read the run's settings, and its owner limits them "
            f"({', '.join(TRAINING_LIMITS)})"
        ) from error


def _declared_rounds(parameters: Parameters) -> int:
    return sum(plan.rounds for plan in parameters.steps if plan.kind == TRAIN)


def bound_settings(parameters: Parameters) -> str | None:
    """Return the run's settings as the session's parameters hold them, None where they hold none."""
    config = decode(parameters.config) if parameters.config else None
    settings = config.get(RUN) if isinstance(config, dict) else None
    return settings if isinstance(settings, str) else None
