from pathlib import Path

import pytest
from flwr.app import ConfigRecord, RecordDict

from fl_app.flower.names import ROSTER_MESSAGE
from strategies.polling import Exchange, MadeWhenAsked, Quorum
from tests.strategies.linear_pods import LinearPods


@pytest.mark.parametrize(
    ("asked_first", "made"), [(2, ["north", "south"]), (None, ["north", "south", "west"]), (1, ["north"])]
)
def test_contents_are_made_for_the_nodes_that_are_asked(
    asked_first: int | None, made: list[str], tmp_path: Path
) -> None:
    pods, seen = LinearPods(tmp_path), list[str]()
    grid = pods.grid(on_reply=lambda reply: None)  # nobody answers

    def make(name: str) -> RecordDict:
        seen.append(name)
        return RecordDict({"config": ConfigRecord({"to": name})})

    contents = MadeWhenAsked(dict(enumerate(pods.names, start=101)), make)
    replies = list(
        Exchange(grid, 0.01).ask(contents, ROSTER_MESSAGE, 0.05, Quorum(1, asked_first=asked_first, hold=9.0))
    )
    assert [grid_message.content["config"]["to"] for grid_message in grid.requests] == seen == made
    assert {reply.node for reply in replies} == set(range(101, 101 + len(made)))
    assert contents[101] is contents[101]
    assert (len(contents), seen) == (3, made)
