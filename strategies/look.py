"""A look at what pods publish: a hello without steps, which begins no session and leaves no trace at the pods."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from flwr.app import RecordDict
from flwr.serverapp import Grid

from fl_app import wire
from fl_app.secagg.aggregator import Aggregator
from fl_app.secagg.canonical import encode
from fl_app.secagg.errors import ProtocolError
from fl_app.secagg.messages import Hello, Parameters
from strategies.cohort import Cohort, CohortRefused, say_hello
from strategies.exchange import Exchange


@dataclass(frozen=True)
class Look:
    """The pods that answered, and a line of text for each node that was asked and could not."""

    cohort: Cohort
    problems: tuple[str, ...]


def look_at_pods(grid: Grid, names: Sequence[str], timeout: float, settle: float = 1.0) -> Look:
    """Ask pods for their schemas, and which of the others they approve.

    Parameters
    ----------
    names : sequence of str
        The pods to ask, all of which must answer; none: whoever is connected.
    timeout : float
        Seconds for them to connect and answer.
    settle : float
        Seconds without a new node after which, where no names are given, all are taken to be there.

    Raises
    ------
    CohortRefused
        If a pod that was named does not answer, or none does.
    """
    exchange, problems = Exchange(grid), list[str]()
    if not names:
        names, problems = _who_is_there(exchange, _aggregator(grid, ()), timeout, settle)
        if not names:
            raise CohortRefused(problems or [f"no pod is connected (waited {timeout:.0f} seconds)"], ())
    cohort = say_hello(exchange, _aggregator(grid, names), secure=True, timeout=timeout)
    return Look(cohort, tuple(problems))


def _aggregator(grid: Grid, names: Sequence[str]) -> Aggregator:
    return Aggregator(
        Parameters(
            run=str(grid.run.run_id),
            app=grid.run.fab_hash,
            config=encode({}),
            prime_q=2**61 - 1,
            pods=tuple(names),
            threshold=0,
            max_weight=1,
            weighting="equal",
            steps=(),
        )
    )


def _who_is_there(
    exchange: Exchange, aggregator: Aggregator, timeout: float, settle: float
) -> tuple[list[str], list[str]]:
    """Return the sorted names of the pods connected, and what the other nodes say, once their set is stable."""
    request = wire.put(RecordDict(), wire.HelloRequest(aggregator.session, aggregator.parameters, secure=True))
    names, problems, asked, waiting = set[str](), list[str](), set[int](), dict[str, int]()
    changed = time.monotonic()
    deadline = changed + timeout
    while time.monotonic() < deadline:
        new = exchange.nodes() - asked
        asked |= new
        waiting |= exchange.send(dict.fromkeys(new, request), wire.HELLO, max(1.0, deadline - time.monotonic()))
        for reply in exchange.receive(waiting):
            try:
                said = wire.take(reply.content or RecordDict(), Hello, wire.Refusal)
            except ProtocolError:
                problems.append(f"a node could not answer: {reply.failure or 'what it sent is not an answer'}")
            else:
                names |= {said.name} if isinstance(said, Hello) else set()
                problems += [said.text] if isinstance(said, wire.Refusal) else []
        if new or waiting or not asked:
            changed = time.monotonic()
        elif time.monotonic() - changed > settle:
            break
        time.sleep(0.1)
    return sorted(names), problems
