"""All that reaches the server is held to an allow-list, searched for planted markers, and tested for uniformity."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from client.app.ledger import Ledger
from client.app.ledger_entries import IN_CLEAR
from client.app.main import app as client_app
from fl_app.config import RunConfig
from fl_app.federation.kinds import read_federation
from fl_app.flower import records
from fl_app.flower.names import MASKED_RECORD, PUBLISHED_RECORD, SECAGG_RECORD
from fl_app.secagg.field import FIELD_31, FIELD_61
from fl_app.secagg.messages import Hello, MaskedReply
from fl_app.system.home import LEDGER_FILE, pod_home
from fl_app.tabular.schema import Schema
from fl_app.tabular.settings import DataStructure
from server.app.main import app as server_app
from server.app.run_directory import RUN_DIRECTORY_VARIABLE, RunDirectory, request_for
from tests.fl_app.secagg.randomness import uncorrelated, uniform
from tests.strategies.linear_pods import EXAMPLES, LinearPods, config, initial, strategy
from tests.support.in_process import InProcessGrid, refusals
from tests.support.small_federation import PODS, small_federation
from tests.support.wire import shows, wire_bytes

PLACE, RARE_NUMBER, RARE_VALUE = "directory-5519-of-the-owner", 77.7712345, "Zanzibar-7731"
Words = npt.NDArray[Any]


def forms(number: float) -> list[bytes]:
    """Return what a number may look like on the wire."""
    return [str(number).encode(), *(struct.pack(order + kind, number) for order in "<>" for kind in "fd")]


MARKERS = {
    "a number": forms(RARE_NUMBER),
    "the same, against its public bounds": [struct.pack(f"{o}d", v) for v in ((RARE_NUMBER - 64) / 64,) for o in "<>"],
    "a category": [RARE_VALUE.encode(), b"Zanzibar"],
    "a path": [PLACE.encode(), b".csv", b".yaml"],
    "a count": [b"num-examples", b"num_examples"],
}


def found_in(replies: list[Message]) -> set[str]:
    """Return which markers occur in any of the messages that reached the server."""
    return {
        what
        for what, all_forms in MARKERS.items()
        if any(shows(reply, form) for form in all_forms for reply in replies)
    }


def allowed(message: Message, pods: tuple[str, ...]) -> Words | None:
    """Raise unless a reply is made of allowed fields and nothing else; returns its masked vector, if it is one."""
    assert not message.has_error()
    content = message.content
    (kind,) = content[SECAGG_RECORD]
    if kind == "Hello":
        hello = records.take(content, Hello)
        assert hello.name in pods
        published = records.take_published(content, hello)
        assert set(published.approves) <= set(pods)
        assert set(content) == {SECAGG_RECORD, PUBLISHED_RECORD}
        return None
    elif kind == "RosterReply":
        for share in records.take(content, records.RosterReply).shares:
            assert {share.sender, share.receiver} <= set(pods)
            # An encapsulated key, a sealed seed, in a verified session a share of the cohort's key, and a tag.
            assert len(share.sealed) in (32 + 32 + 16, 32 + 64 + 16)
    elif kind == "MaskedReply":
        reply = records.take(content, MaskedReply)
        assert (reply.commitment, reply.shares) == (b"", ())
        assert set(content) == {SECAGG_RECORD, MASKED_RECORD}
        vector = records.take_vector(content)
        assert vector.dtype.kind == "u"
        return vector
    else:
        raise AssertionError(f"a {kind} is not on the list")
    assert set(content) == {SECAGG_RECORD}
    return None


def vectors(replies: list[Message], message_type: str, pods: tuple[str, ...]) -> list[Words]:
    found = [(reply, allowed(reply, pods)) for reply in replies]
    return [v for reply, v in found if v is not None and reply.metadata.message_type == message_type]


# --- the census app: real tables, real training


def planted(directory: Path) -> None:
    """Plant the markers in the tables: one row's number, and a category in two rows, where three are published."""
    for name in PODS:
        frame = pd.read_csv(directory / f"{name}.csv")
        frame.loc[[5, 6], "colour"] = RARE_VALUE
        frame.loc[7, "age"] = RARE_NUMBER
        frame.to_csv(directory / f"{name}.csv", index=False)
        assert all(marker in (directory / f"{name}.csv").read_text() for marker in (RARE_VALUE, str(RARE_NUMBER)))


def train_tables(directory: Path, run_id: int) -> list[Message]:
    """Run the real ServerApp with the real ClientApp, and return all that reached the server."""
    federation = read_federation(directory / "fl-app.toml", "small")
    settings = RunConfig(pods=PODS, datastructure=DataStructure(target="outcome"), rounds=2, local_epochs=1)
    made = RunDirectory.create(directory / "runs", settings, request_for(federation))
    grid = InProcessGrid(client_app, {100 + place: {"partition-id": place} for place in range(2)}, run_id)
    variables = {RUN_DIRECTORY_VARIABLE: str(made.path), "FL_APP_FEDERATION": f"{directory / 'fl-app.toml'}#small"}
    with mock.patch.dict(os.environ, variables):
        server_app(grid, Context(grid.run_id, 0, {}, RecordDict(), {}))
    assert not refusals(grid)
    return grid.replies


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Message], list[Message]]]:
    directory = tmp_path_factory.mktemp("pods") / PLACE
    directory.mkdir()
    small_federation(directory)
    planted(directory)
    before = Path.cwd()
    os.chdir(directory)
    try:
        yield train_tables(directory, 1), train_tables(directory, 2)
    finally:
        os.chdir(before)


def test_every_message_is_made_of_allowed_fields(two_runs: tuple[list[Message], list[Message]]) -> None:
    for replies in two_runs:
        seen = [(reply.metadata.message_type, allowed(reply, PODS)) for reply in replies]
        assert [kind for kind, vector in seen if vector is None] == ["query.hello"] * 2 + ["query.roster"] * 2
        masked = [kind for kind, vector in seen if vector is not None]
        assert masked[:6] == ["query.masked"] * 2 + ["train.masked"] * 4
        assert masked[6:] in (["evaluate.masked"] * 2, ["evaluate.masked"] * 4)


def test_no_planted_marker_is_in_any_byte(two_runs: tuple[list[Message], list[Message]]) -> None:
    for replies in two_runs:
        assert found_in(replies) == set()


def test_the_schema_publishes_what_it_may_and_no_rare_value(two_runs: tuple[list[Message], list[Message]]) -> None:
    content = two_runs[0][0].content
    schema = Schema.from_json(records.take_published(content, records.take(content, Hello)).schema)
    assert schema.column("colour").values == ("blue", "green", "red")
    assert (schema.column("age").low, schema.column("age").high) == (0.0, 128.0)  # a power of two, not the oldest


@pytest.mark.parametrize("step", ["query.masked", "train.masked", "evaluate.masked"])
def test_masked_words_are_uniform(step: str, two_runs: tuple[list[Message], list[Message]]) -> None:
    for replies in two_runs:
        words = np.concatenate(vectors(replies, step, PODS))
        assert len(words) > 5_000 if step == "train.masked" else len(words) > 100
        assert uniform(words, 61)


def test_masked_vectors_of_two_runs_on_the_same_data_are_uncorrelated(
    two_runs: tuple[list[Message], list[Message]],
) -> None:
    for one, other in zip(*(vectors(replies, "train.masked", PODS) for replies in two_runs), strict=True):
        length = min(len(one), len(other))  # noise in the statistics makes other bins
        assert length > 5_000
        assert uncorrelated(one[:length], other[:length], FIELD_61.prime)


# --- any Flower app


@pytest.fixture
def pods(tmp_path: Path) -> LinearPods:
    return LinearPods(tmp_path / PLACE, secure_only=False)


def run(pods: LinearPods, run_id: int, **settings: Any) -> InProcessGrid:
    grid = pods.grid(run_id)
    strategy(FedAvg(), **settings).start(grid, initial(), 2, 5.0, config(), config())
    return grid


def test_of_a_plain_function_that_trains_only_masked_vectors_leave(pods: LinearPods) -> None:
    grid = run(pods, 1)
    for message_type, count in (("train.masked", 6), ("evaluate.masked", 3)):
        assert len(vectors(grid.replies, message_type, tuple(pods.names))) == count
    assert found_in(grid.replies) == set()


def test_the_compact_fields_words_are_uniform_too(pods: LinearPods) -> None:
    grid = pods.grid(1)
    arrays = ArrayRecord([np.zeros((200, 100), np.float32)])
    pods.handlers["train"] = still
    strategy(FedAvg(fraction_evaluate=0), prime_q=FIELD_31.prime, evaluate_metrics=[], train_metrics=[]).start(
        grid, arrays, 2, 5.0, config()
    )
    first, second = (vectors(grid.replies, "train.masked", tuple(pods.names))[i] for i in (0, 3))
    assert first.dtype == np.dtype("<u4")
    assert uniform(first, 31)
    assert uniform(second, 31)
    assert uncorrelated(first, second, FIELD_31.prime)  # the same zeros, by the same pod, in two rounds


def still(message: Message, context: Context) -> Message:
    """Train to no effect: every element of the update is zero."""
    content = RecordDict({"arrays": message.content["arrays"], "metrics": MetricRecord({"num-examples": 5})})
    return Message(content, reply_to=message)


# --- the tests above can fail


def test_values_in_the_clear_are_not_on_the_list(pods: LinearPods) -> None:
    grid = run(pods, 1, secure=False)
    plain = [reply for reply in grid.replies if reply.metadata.message_type == "train.plain"]
    assert plain
    for reply in plain:
        with pytest.raises((AssertionError, KeyError)):
            allowed(reply, tuple(pods.names))
        assert struct.pack("<q", EXAMPLES["west"]) in b"".join(wire_bytes(each) for each in plain)


@pytest.mark.parametrize("secure", [True, False])
def test_the_ledger_says_which_answers_left_in_the_clear(pods: LinearPods, secure: bool) -> None:
    run(pods, 1, secure=secure)
    answers = [
        entry
        for entry in Ledger(pod_home("west", pods.home("west")) / LEDGER_FILE).entries()
        if entry.event == "answer"
    ]
    assert answers
    assert {entry.why for entry in answers} == {"" if secure else IN_CLEAR}


def test_a_marker_that_leaks_is_found_in_any_of_its_forms(pods: LinearPods) -> None:
    reply = next(reply for reply in run(pods, 1).replies if reply.metadata.message_type == "train.masked")
    for what, all_forms in MARKERS.items():
        for form in all_forms:
            reply.content["x"] = ConfigRecord({"x": b"." + form})
            assert what in found_in([reply])
            with pytest.raises(AssertionError):
                allowed(reply, tuple(pods.names))
