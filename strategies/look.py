"""A look at what pods publish: a hello without steps, which begins no session; the pods' ledgers say it happened."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from flwr.app import RecordDict
from flwr.serverapp import Grid

from fl_app.flower import records
from fl_app.flower.names import HELLO_MESSAGE
from fl_app.secagg.aggregator import Aggregator
from fl_app.secagg.canonical import encode
from fl_app.secagg.errors import MalformedMessage, PolicyRefused, ProtocolError
from fl_app.secagg.messages import Hello, Parameters
from fl_app.secagg.roster import verify_hello
from strategies.cohort import Cohort, CohortRefused, say_hello
from strategies.polling import Exchange, Reply


@dataclass(frozen=True)
class Look:
    """The pods that answered, and a line of text for each node that was asked and could not.

    ``since`` says of each pod since when its node has been connected (ISO 8601), where the SuperLink tells.
    """

    cohort: Cohort
    problems: tuple[str, ...]
    since: dict[str, str] = field(default_factory=dict)


def look_at_pods(
    grid: Grid, names: Sequence[str], timeout: float, *, required: bool = True, settle: float = 1.0
) -> Look:
    """Ask pods for their schemas, and which of the others they approve.

    Parameters
    ----------
    names : sequence of str
        The pods to ask.
    timeout : float
        Seconds for them to connect and answer.
    required : bool
        Whether each of them must answer. If not, whoever is connected is taken; if not all of those are among
        ``names``, they are asked again, because pods tell only whom of the pods named to them they approve.
    settle : float
        Seconds without a new node after which, where nobody is required, all are taken to be there.

    Raises
    ------
    CohortRefused
        If a required pod does not answer, or none at all does.
    """
    look = _look(grid, names, timeout, required=required, settle=settle)
    told = {node.node_id: node.last_activated_at for node in grid.get_nodes()}
    return replace(look, since={name: told[node] for name, node in look.cohort.nodes.items() if told.get(node)})


def _look(grid: Grid, names: Sequence[str], timeout: float, *, required: bool, settle: float) -> Look:
    exchange = Exchange(grid)
    if required:
        return Look(say_hello(exchange, _aggregator(grid, names), secure=True, timeout=timeout), ())
    look = _who_is_there(exchange, _aggregator(grid, names), timeout, settle)
    found = sorted(look.cohort.hellos)
    if not found:
        raise CohortRefused(look.problems or [f"no pod is connected (waited {timeout:.0f} seconds)"], names)
    if set(found) <= set(names):
        return look
    return Look(say_hello(exchange, _aggregator(grid, found), secure=True, timeout=timeout), look.problems)


def _aggregator(grid: Grid, names: Sequence[str]) -> Aggregator:
    return Aggregator(
        Parameters(
            run=str(grid.run.run_id),
            series=str(grid.run.run_id),
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


def _who_is_there(exchange: Exchange, aggregator: Aggregator, timeout: float, settle: float) -> Look:
    """Return who is connected, and what the nodes say that are no pods, once the set of nodes is stable."""
    request = records.put(RecordDict(), records.HelloRequest(aggregator.session, aggregator.parameters, secure=True))
    hellos, nodes, problems = dict[str, Hello](), dict[str, int](), list[str]()
    asked, waiting = set[int](), dict[str, int]()
    changed = time.monotonic()
    deadline = changed + timeout
    while time.monotonic() < deadline:
        new = exchange.nodes() - asked
        asked |= new
        waiting |= exchange.send(dict.fromkeys(new, request), HELLO_MESSAGE, max(1.0, deadline - time.monotonic()))
        for reply in exchange.receive(waiting):
            try:
                hello = _hello_in(reply, aggregator)
            except ProtocolError as error:
                problems.append(str(error))
                continue
            if hello.name in hellos:
                problems.append(f"two nodes answer as pod '{hello.name}'")
            hellos[hello.name], nodes[hello.name] = hello, reply.node
        if new or waiting or not asked:
            changed = time.monotonic()
        elif time.monotonic() - changed > settle:
            break
        time.sleep(0.1)
    published = {name: records.Published.from_bytes(hellos[name].published) for name in sorted(hellos)}
    cohort = Cohort(
        nodes=nodes,
        hellos={name: hellos[name] for name in published},
        schemas={name: shown.schema for name, shown in published.items()},
        approvals={name: shown.approves for name, shown in published.items()},
        versions={name: shown.versions for name, shown in published.items()},
    )
    return Look(cohort, tuple(problems))


def _hello_in(reply: Reply, aggregator: Aggregator) -> Hello:
    """Return the verified hello in a reply; raises `ProtocolError`, saying what it is, for anything else."""
    if reply.content is None:
        raise MalformedMessage(f"a node could not answer: {reply.failure}")
    if refused := reply.refusal():
        raise PolicyRefused(refused.text)
    said = records.take(reply.content, Hello)
    verify_hello(said)
    if said.session != aggregator.session or said.parameters != aggregator.parameters.digest():
        raise MalformedMessage(f"pod '{said.name}' answered for another session or other parameters")
    records.Published.from_bytes(said.published)
    return said
