"""A node speaks for the pod under whose name its key is registered, and for no other."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import pytest
from flwr.proto.node_pb2 import NodeInfo

from fl_app.pod.definition import Policy
from strategies import CohortRefused
from tests.strategies.linear_pods import NAMES, LinearPods
from tests.strategies.test_refusals import no_cohort, run
from tests.support.in_process import InProcessGrid, refusals


@dataclass
class Authenticated(InProcessGrid):
    """A grid whose SuperLink knows its nodes by name."""

    registered: Mapping[int, str] = field(default_factory=dict)

    def get_nodes(self) -> Iterable[NodeInfo]:
        return [NodeInfo(node_id=node, name=self.registered.get(node)) for node in self.get_node_ids()]


def authenticated(pods: LinearPods, says: Sequence[str], registered: Sequence[str]) -> Authenticated:
    """Return a grid of one node for each name in ``registered``, which says that it is the pod in ``says``."""
    grid = pods.grid(nodes=says)
    given = {item.name: getattr(grid, item.name) for item in fields(InProcessGrid)}
    return Authenticated(**given, registered=dict(enumerate(registered, start=101)))


def roster_answered(grid: InProcessGrid) -> int:
    return sum(message.metadata.message_type == "query.roster" for message in grid.replies)


def test_registered_names_train(pods: LinearPods) -> None:
    _, failed = run(authenticated(pods, NAMES, NAMES))
    assert failed == []


def test_nodes_without_a_name_train(pods: LinearPods) -> None:
    _, failed = run(authenticated(pods, NAMES, ["", "", ""]))
    assert failed == []


@pytest.mark.parametrize("secure", [True, False])
def test_a_taken_over_name_ends_in_a_refusal_that_names_both(tmp_path: Path, secure: bool) -> None:
    pods = LinearPods(tmp_path, secure_only=secure)
    grid = authenticated(pods, NAMES, ["north", "south", "east"])
    refused = no_cohort(grid, secure=secure)
    assert "'east'" in refused.reasons[0]
    assert "'west'" in refused.reasons[0]
    assert roster_answered(grid) == (3 if secure else 0)
    assert not any("masked" in message.metadata.message_type for message in grid.requests)


def test_the_pods_have_seen_the_roster_with_the_strangers_key(pods: LinearPods, tmp_path: Path) -> None:
    # A pod of the same name from elsewhere: the others know the name by another key.
    stranger = LinearPods(tmp_path / "elsewhere")
    home = pods.home
    pods.home = lambda name: stranger.home(name) if name == "west" else home(name)  # type: ignore[method-assign]
    grid = authenticated(pods, NAMES, ["north", "south", "east"])
    refused = no_cohort(grid)
    assert "registered as 'east'" in refused.reasons[0]
    assert sum("another key" in text for text in refusals(grid)) >= 2


@pytest.mark.parametrize("order", [(*NAMES, "west"), ("west", *NAMES)])
def test_a_stranger_does_not_displace_the_right_node(pods: LinearPods, order: Sequence[str]) -> None:
    registered = [*NAMES, "east"] if order[0] == "north" else ["east", *NAMES]
    grid = authenticated(pods, order, registered)
    result, failed = run(grid)
    assert failed == []
    assert not isinstance(result, Exception)
    stranger = next(node for node, name in grid.registered.items() if name == "east")
    asked = {m.metadata.message_type for m in grid.requests if m.metadata.dst_node_id == stranger}
    assert asked == {"query.hello"}


def test_a_stranger_cannot_refuse_in_anothers_name(pods: LinearPods) -> None:
    # On one node "west" refuses, but that node is not west's.
    refusing = LinearPods(pods.directory / "refusing")
    refusing.policies["west"] = Policy(minimum_cohort=9)
    grid = authenticated(pods, [*NAMES, "west"], [*NAMES, "east"])
    plain = grid.app

    def answer(message, context):  # type: ignore[no-untyped-def]
        stranger = grid.registered[message.metadata.dst_node_id] == "east"
        return (refusing.masked_app() if stranger else plain)(message, context)

    grid.app = answer
    _, failed = run(grid)
    assert failed == []
    assert refusals(grid)


def test_without_authentication_two_of_a_name_are_refused(pods: LinearPods) -> None:
    with pytest.raises(CohortRefused, match="two nodes answer as pod 'west'"):
        run(pods.grid(nodes=[*NAMES, "west"]))
