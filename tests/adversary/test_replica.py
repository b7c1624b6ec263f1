"""A server that would have pods compute what they have not followed, message by message."""

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp.strategy import FedAvg

from client.app.replica_store import ReplicaStore
from fl_app.errors import FlAppError, UsageError
from fl_app.flower import names, records
from fl_app.flower.packing import unpacked
from fl_app.plain_rule import PlainRule
from fl_app.pod.policy import Policy
from fl_app.replica.state import Replica
from fl_app.secagg.messages import Step
from strategies import Dropouts, SecureAggregation, Timing
from tests.strategies.linear_pods import NAMES, initial
from tests.support.following_pods import ROUNDS, FollowingPods, replicated, run
from tests.support.in_process import InProcessGrid

MODEL = {key: array.numpy() for key, array in initial().items()}
SIZES = {"evaluate.residuals": 3}


def at(message_type: str, change: Callable[[RecordDict], RecordDict], number: int = 1) -> Callable[[Message], Message]:
    """Change the n-th round of messages of a type."""
    seen: list[int] = []

    def tamper(message: Message) -> Message:
        if message.metadata.message_type == message_type:
            seen.append(1)
            if (len(seen) - 1) // len(NAMES) + 1 == number:
                message.content = change(unpacked(message.content))
        return message

    return tamper


def told(grid: InProcessGrid, message_type: str) -> list[str]:
    """Return the refusals of a type of message."""
    found = []
    for reply in grid.replies:
        if reply.metadata.message_type == message_type and "Refusal" in reply.content[names.SECAGG_RECORD]:
            found.append(records.take(reply.content, records.Refusal).text)
    return found


def lied_to(pods: FollowingPods, tamper: Callable[[Message], Message]) -> InProcessGrid:
    grid = pods.grid(1, on_request=tamper)
    with suppress(FlAppError):
        run(replicated(dropouts=Dropouts(membership_changes=1)), grid)
    return grid


def assert_refused(grid: InProcessGrid, message_type: str, text: str) -> None:
    assert any(text in refusal for refusal in told(grid, message_type)), told(grid, message_type)


@pytest.fixture
def pods(tmp_path: Path) -> FollowingPods:
    return FollowingPods(tmp_path)


# --- the hello


def hello(change: Callable[[records.HelloRequest], records.HelloRequest]) -> Callable[[Message], Message]:
    def changed(content: RecordDict) -> RecordDict:
        return records.put(RecordDict(), change(records.take(content, records.HelloRequest)))

    return at(names.HELLO_MESSAGE, changed)


def test_a_verified_session_that_binds_no_settings_is_refused(pods: FollowingPods) -> None:
    def unbound(request: records.HelloRequest) -> records.HelloRequest:
        return replace(request, parameters=replace(request.parameters, config=b""))

    assert_refused(lied_to(pods, hello(unbound)), names.HELLO_MESSAGE, "must bind the settings of its run")


def test_a_proposal_that_is_not_the_settings_is_refused(pods: FollowingPods) -> None:
    grid = lied_to(pods, hello(lambda request: replace(request, proposal="{}")))
    assert_refused(grid, names.HELLO_MESSAGE, "proposes something else than the settings of the run")


def test_a_session_that_is_not_verified_is_refused(pods: FollowingPods) -> None:
    grid = pods.grid(1)
    with suppress(FlAppError):
        SecureAggregation(FedAvg(), NAMES, timing=Timing(hello=0.5)).form_cohort(grid, ROUNDS)
    assert_refused(grid, names.HELLO_MESSAGE, "takes part in verified sessions only")


# --- what a request holds


def test_a_model_to_train_is_refused(pods: FollowingPods) -> None:
    def with_model(content: RecordDict) -> RecordDict:
        return RecordDict({**content, names.ARRAYS_RECORD: initial()})

    grid = lied_to(pods, at(names.MASKED_TRAIN, with_model))
    assert_refused(grid, names.MASKED_TRAIN, "holds 'arrays', which no pod asks for")


def test_a_vector_of_another_size_is_refused(pods: FollowingPods) -> None:
    def larger(content: RecordDict) -> RecordDict:
        step = records.take(content, Step)
        return records.put(content, replace(step, sizes=(step.sizes[0] + 1, *step.sizes[1:])))

    grid = lied_to(pods, at(names.MASKED_TRAIN, larger))
    assert_refused(grid, names.MASKED_TRAIN, "not of the size that follows from the run")


class Objecting(PlainRule):
    def objection(self, replica: Replica, pods: Collection[str], least: int) -> str:
        return f"too few for {least}"


class Failing(PlainRule):
    def begin(self, settings: str, published: object) -> Replica:
        raise UsageError("their columns do not fit")


def test_a_session_of_too_few_contributors_is_refused(tmp_path: Path) -> None:
    pods = FollowingPods(tmp_path, rule=Objecting(lambda settings: MODEL, sizes=SIZES))
    assert_refused(lied_to(pods, lambda message: message), names.MASKED_TRAIN, "takes no part: too few for 2")


def test_what_no_run_can_be_made_of_is_refused(tmp_path: Path) -> None:
    pods = FollowingPods(tmp_path, rule=Failing(lambda settings: MODEL, sizes=SIZES))
    grid = lied_to(pods, lambda message: message)
    assert_refused(grid, names.MASKED_TRAIN, "no run can be made of what the pods publish: their columns do not fit")


# --- the sum before


def test_a_sum_that_is_not_the_cohorts_ends_the_pods_part(pods: FollowingPods) -> None:
    def forged(content: RecordDict) -> RecordDict:
        given = records.take_proof(content)
        assert given is not None
        words = np.array(given[1])
        words[3] = (int(words[3]) + 1) % (2**61 - 1)
        return records.put_proof(content, given[0], words)

    grid = lied_to(pods, at(names.MASKED_TRAIN, forged, number=2))
    assert_refused(grid, names.MASKED_TRAIN, "does not hold: its tag is not that of the cohort's vectors")
    assert len([text for text in told(grid, names.HELLO_MESSAGE) if "part in it is over" in text]) == len(NAMES)


# --- pods that were away


def away(
    pods: FollowingPods,
    change: Callable[[], None],
    later: Callable[[Message], Message],
    grids: list[InProcessGrid] | None = None,
) -> InProcessGrid:
    """Have one pod lose its session in the third round, after ``change``; messages after that go through ``later``."""
    grids = [] if grids is None else grids
    gone: list[bool] = []

    def tamper(message: Message) -> Message:
        if message.metadata.message_type == names.MASKED_TRAIN and not gone:
            seen = sum(asked.metadata.message_type == names.MASKED_TRAIN for asked in grids[0].requests)
            if seen == 2 * len(NAMES):
                gone.append(True)
                grids[0].contexts[101].state = RecordDict()
                change()
        return later(message) if gone else message

    grids.append(pods.grid(1, on_request=tamper))
    with suppress(FlAppError):
        run(replicated(dropouts=Dropouts(membership_changes=1)), grids[0])
    assert gone
    return grids[0]


def forget(pods: FollowingPods) -> Callable[[], None]:
    def change() -> None:
        for path in (pods.home(NAMES[0]) / "replicas").iterdir():
            path.unlink()

    return change


def test_a_pod_that_has_not_followed_asks_for_the_replica(pods: FollowingPods) -> None:
    def without(message: Message) -> Message:
        kept = {name: record for name, record in message.content.items() if name != names.REPLICA_RECORD}
        message.content = RecordDict(kept)
        return message

    grid = away(pods, forget(pods), without)
    assert_refused(
        grid, names.MASKED_TRAIN, f"pod '{NAMES[0]}' has not followed this run so far, and is sent no replica"
    )


def test_a_replica_that_the_others_have_not_signed_is_refused(pods: FollowingPods) -> None:
    def crafted(message: Message) -> Message:
        message.content = unpacked(message.content)
        if (data := records.take_replica(message.content)) is not None:
            given = Replica.from_bytes(data)
            lied = replace(given, model={name: array + 1 for name, array in given.model.items()})
            message.content = records.put_replica(message.content, lied.to_bytes())
        return message

    grid = away(pods, forget(pods), crafted)
    assert_refused(grid, names.MASKED_TRAIN, "is not the one that the other pods have followed")


def test_what_a_single_other_pod_says_that_it_has_followed_is_refused(pods: FollowingPods) -> None:
    def change() -> None:
        for node, name in list(enumerate(NAMES, start=101))[:2]:  # two of the three come as if for the first time
            for path in (pods.home(name) / "replicas").iterdir():
                path.unlink()
            (pods.home(name) / "pods" / name / "ledger.db").unlink()
            grids[0].contexts[node].state = RecordDict()

    grids: list[InProcessGrid] = []
    pods.policies = dict.fromkeys(NAMES, Policy(minimum_cohort=3))
    grid = away(pods, change, lambda message: message, grids)
    assert_refused(grid, names.MASKED_TRAIN, "takes over what at least 2 other pods have followed, and 1 have this")


def diverge(pods: FollowingPods) -> Callable[[], None]:
    def change() -> None:
        store = ReplicaStore(pods.home(NAMES[0]) / "replicas", "1")
        replica, label = store.load()
        other = {name: array + 1 for name, array in replica.model.items()}
        store.save(replace(replica, place=replica.place + 1, model=other), label)

    return change


def test_pods_that_have_followed_different_runs_form_no_roster(pods: FollowingPods) -> None:
    grid = away(pods, diverge(pods), lambda message: message)
    assert_refused(grid, names.ROSTER_MESSAGE, "have followed the series in different ways")


# --- an earlier round's model


def evaluated(pods: FollowingPods, number: int, arrays: ArrayRecord | None) -> InProcessGrid:
    def ask(content: RecordDict) -> RecordDict:
        asked = RecordDict({**content, names.CONFIG_RECORD: ConfigRecord({names.MODEL_ROUND: number})})
        return RecordDict({**asked, names.ARRAYS_RECORD: arrays}) if arrays else asked

    return lied_to(pods, at(names.MASKED_EVALUATE, ask))


def test_an_earlier_rounds_model_is_sent_with_the_request_or_not_evaluated(pods: FollowingPods) -> None:
    grid = evaluated(pods, 1, None)
    assert_refused(grid, names.MASKED_EVALUATE, "an evaluation of an earlier round came without its model")


def test_another_model_in_the_place_of_an_earlier_rounds_is_refused(pods: FollowingPods) -> None:
    other = ArrayRecord({name: Array(array + 1) for name, array in MODEL.items()})
    grid = evaluated(pods, 1, other)
    assert_refused(grid, names.MASKED_EVALUATE, "the model that the server sends is not that of round 1")


def test_a_round_that_was_not_completed_has_no_model(pods: FollowingPods) -> None:
    grid = evaluated(pods, 77, initial())
    assert_refused(grid, names.MASKED_EVALUATE, "an evaluation of a round that this run has not completed")
