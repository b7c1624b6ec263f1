"""Schema discovery: a hello without steps, which begins no session; each pod's ledger has an entry of it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from flwr.serverapp import Grid

from fl_app.flower.protocol_settings import Aggregation, Dropouts
from fl_app.secagg.aggregator import Aggregator
from fl_app.secagg.canonical import encode
from fl_app.secagg.messages import Parameters
from strategies.cohort import Cohort, CohortRefused
from strategies.hello import HelloReplies, poll_hellos, say_hello
from strategies.polling import Exchange


@dataclass(frozen=True)
class Discovery:
    """The pods that answered, and a line of text for each node that was asked and could not.

    ``since`` has the time from which each pod's node has been connected (ISO 8601), where the SuperLink tells it.
    """

    cohort: Cohort
    problems: tuple[str, ...]
    since: dict[str, str] = field(default_factory=dict)


def discover_pods(
    grid: Grid, names: Sequence[str], timeout: float, *, required: bool = True, settle: float = 1.0, proposal: str = ""
) -> Discovery:
    """Ask pods for their schemas, and which of the others they approve.

    Parameters
    ----------
    names : sequence of str
        The pods to ask.
    timeout : float
        Seconds for them to connect and answer.
    required : bool
        Whether each of them must answer. If not, whoever is connected is taken; if not all of those are among
        ``names``, they are asked again, because a pod tells only which of the pods named to it it approves.
    settle : float
        Seconds without a new node after which, if nobody is required, all are taken to be there; if every one of
        ``names`` is, none are waited.
    proposal : str
        What is proposed to the pods for what they publish.

    Raises
    ------
    CohortRefused
        If a required pod does not answer, or none at all does.
    """
    exchange, problems = Exchange(grid), list[str]()

    def ask(pods: Sequence[str]) -> Cohort:
        return say_hello(exchange, _without_steps(grid, pods), secure=True, timeout=timeout, proposal=proposal)

    if required:
        cohort = ask(names)
    else:
        cohort, problems = _connected_pods(exchange, _without_steps(grid, names), timeout, settle, proposal)
        if not cohort.hellos:
            raise CohortRefused(problems or [f"no pod is connected (waited {timeout:.0f} seconds)"], names)
        if not set(cohort.hellos) <= set(names):
            cohort = ask(sorted(cohort.hellos))
    activated = {node.node_id: node.last_activated_at for node in grid.get_nodes()}
    since = {name: activated[node] for name, node in cohort.nodes.items() if activated.get(node)}
    return Discovery(cohort, tuple(problems), since)


def _connected_pods(
    exchange: Exchange, aggregator: Aggregator, timeout: float, settle: float, proposal: str
) -> tuple[Cohort, list[str]]:
    """Return who is connected once the set of nodes is stable, and a line for each reply that cannot be used.

    If all whom the modeller expects have answered, and everybody else who was there, nobody else is waited for.
    """
    names = aggregator.parameters.pods
    replies = HelloReplies(aggregator, exchange.registered, None)
    asked, changed = set[int](), time.monotonic()
    for new, unanswered in poll_hellos(exchange, replies, secure=True, timeout=timeout, proposal=proposal):
        asked |= new
        if new or unanswered or not asked:
            changed = time.monotonic()
        elif (names and replies.hellos.keys() >= set(names)) or time.monotonic() - changed > settle:
            break
    misnamed = replies.admit_misnamed()
    problems = [*replies.unusable, *replies.refusals.values(), *misnamed.values()]
    return replies.cohort(sorted(replies.hellos), misnamed), problems


def _without_steps(grid: Grid, names: Sequence[str]) -> Aggregator:
    """Return a session in which nothing is computed."""
    settings = Aggregation(weighting="equal")
    return Aggregator(
        Parameters(
            run=str(grid.run.run_id),
            series=str(grid.run.run_id),
            app=grid.run.fab_hash,
            config=encode({}),
            prime_q=settings.prime_q,
            pods=tuple(names),
            threshold=Dropouts.threshold,
            max_weight=settings.largest_weight,
            weighting=settings.weighting,
            steps=(),
            verified=False,
        )
    )
