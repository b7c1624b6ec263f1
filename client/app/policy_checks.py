"""The owner's terms, checked against what a run asks for before anything of the pod goes into an answer."""

from flwr.app import RecordDict

from client.app.owner import Owner
from fl_app.config import RunConfig
from fl_app.errors import FlAppError
from fl_app.flower.names import RUN, TRAIN
from fl_app.secagg.canonical import decode
from fl_app.secagg.errors import NotApproved, PolicyRefused, SessionRefused
from fl_app.secagg.messages import Parameters
from fl_app.secagg.roster import check_cohort, threshold_for


def check_app(owner: Owner, parameters: Parameters) -> None:
    """Raise `PolicyRefused` unless the run is of the app that the owner's guard has verified, if there is one."""
    if owner.app and parameters.app != owner.app:
        raise PolicyRefused(f"pod '{owner.name}' runs version {owner.app[:12]} of the app, and the run names another")


def check_request(owner: Owner, parameters: Parameters, secure: bool, run: str) -> None:
    """Raise unless the owner agrees to what is requested, as far as names tell; keys are checked on the roster."""
    if parameters.run != run:
        raise SessionRefused("the parameters name another run than the one this message belongs to")
    if not secure:
        check_plain(owner)
    others = [pod for pod in parameters.pods if pod != owner.name]
    approved = [pod for pod in others if pod in owner.cohort.approved]
    if refused := [f"pod '{pod}'" for pod in others if pod not in approved]:
        raise NotApproved(f"pod '{owner.name}' does not approve {', '.join(refused)}", approved)
    pods = len(parameters.pods)
    check_cohort(owner.name, pods, pods, threshold_for(parameters.threshold, pods), owner.cohort)
    check_limits(owner, parameters)


def check_plain(owner: Owner) -> None:
    """Raise `PolicyRefused` unless the owner lets values leave in the clear."""
    if owner.require_secure_aggregation:
        raise PolicyRefused(f"pod '{owner.name}' takes part in secure aggregation only")


def check_limits(owner: Owner, parameters: Parameters) -> None:
    """Raise `PolicyRefused`, naming the term, if the run declares more than the owner allows in one run or round."""
    limits, config = owner.limits, _config(owner, parameters)
    declared = sum(plan.rounds for plan in parameters.steps if plan.kind == TRAIN)
    spare = owner.sessions - 1  # a round may be lost, and its number spent, at each membership change
    if limits.rounds is not None:
        declared -= owner.ledger.last_round(parameters.series)  # a resumed run goes on from there
        if declared > limits.rounds + spare:
            raise PolicyRefused(
                f"pod '{owner.name}' takes part in at most {limits.rounds} rounds a run and {spare} repeated ones "
                f"(maximum_rounds, maximum_membership_changes); this run declares {declared}"
            )
    if config is None:
        return
    for limit, term, what, asked in (
        (limits.rounds, "maximum_rounds", "rounds a run", config.rounds),
        (limits.local_epochs, "maximum_local_epochs", "local epochs a round", config.local_epochs),
        (limits.local_steps, "maximum_local_steps", "local steps a round", config.local_steps),
    ):
        if limit is not None and asked is not None and asked > limit:
            raise PolicyRefused(
                f"pod '{owner.name}' takes part in at most {limit} {what} ({term}); this run asks for {asked}"
            )


def check_settings(parameters: Parameters, content: RecordDict) -> None:
    """Raise `SessionRefused` if a step is to run under other settings than those that are bound into the session."""
    bound = _bound(parameters)
    for record in content.config_records.values():
        if bound is not None and record.get(RUN, bound) != bound:
            raise SessionRefused("the step names other settings of the run than those that the session began with")


def _config(owner: Owner, parameters: Parameters) -> RunConfig | None:
    """Return the settings that the owner's limits are about; None if there are none, or no such limits."""
    text, limits = _bound(parameters), owner.limits
    if text is None or (limits.rounds, limits.local_epochs, limits.local_steps) == (None, None, None):
        return None
    try:
        return RunConfig.from_json(text)
    except FlAppError as error:
        raise PolicyRefused(
            f"pod '{owner.name}' cannot read the run's settings, and its owner limits them (maximum_rounds, "
            "maximum_local_epochs, maximum_local_steps)"
        ) from error


def _bound(parameters: Parameters) -> str | None:
    config = decode(parameters.config) if parameters.config else None
    text = config.get(RUN) if isinstance(config, dict) else None
    return text if isinstance(text, str) else None
