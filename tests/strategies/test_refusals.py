import copy
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict
from flwr.common.serde import message_to_proto
from flwr.serverapp.strategy import FedAvg

from client.app.ledger import Ledger
from client.app.owner import Owner, owner_of
from client.app.pod_table import PodTable
from fl_app.errors import FlAppError
from fl_app.flower import records
from fl_app.flower.names import HELLO_MESSAGE, MASKED_TRAIN, PLAIN_TRAIN, ROSTER_MESSAGE, SECAGG_RECORD, VALUES_RECORD
from fl_app.flower.packing import unpacked
from fl_app.identity.key_file import Identity
from fl_app.identity.known_pods import Keyring, known_pods
from fl_app.pod.definition import CSVSource, Pod, Policy
from fl_app.secagg.crypto import HELLO, statement
from fl_app.secagg.messages import Hello, Step
from fl_app.system.home import pod_home
from strategies import CohortRefused
from tests.strategies.linear_pods import NAMES, LinearPods, config, initial, strategy, train
from tests.support.in_process import InProcessGrid, refusals

MARKER = "patient-4711"


@pytest.fixture
def pods(tmp_path: Path) -> LinearPods:
    made = LinearPods(tmp_path)
    made.trained = []  # type: ignore[attr-defined]

    def counted(message: Message, context: Context) -> Message:
        made.trained.append(context.node_config["pod"])  # type: ignore[attr-defined]
        return train(message, context)

    made.handlers["train"] = counted
    return made


def run(grid: InProcessGrid, rounds: int = 1, **settings: Any) -> Any:
    """Run the secure strategy over all pods; returns the result, and the texts of the rounds that failed."""
    failed: list[str] = []
    secure = strategy(FedAvg(), on_skip=lambda number, error: failed.append(str(error)), **settings)
    try:
        return secure.start(grid, initial(), rounds, 2.0, config(), config()), failed
    except CohortRefused:
        raise
    except FlAppError as error:
        return error, failed


def no_cohort(grid: InProcessGrid, **settings: Any) -> CohortRefused:
    """Return the refusal with which a run must end before anyone has trained."""
    with pytest.raises(CohortRefused) as refused:
        run(grid, **settings)
    assert not any(m.metadata.message_type.startswith(("train", "evaluate")) for m in grid.requests)
    return refused.value


def no_share_left(grid: InProcessGrid, *, but: int = 0) -> None:
    sent = [reply for reply in grid.replies if "RosterReply" in reply.content.get(SECAGG_RECORD, {})]
    assert len(sent) == but


# --- the cohort


def test_a_pod_that_is_not_approved_stops_the_run_and_both_are_named(pods: LinearPods) -> None:
    pods.approved["north"] = ("south",)
    grid = pods.grid()
    refused = no_cohort(grid)
    assert "pod 'north' does not approve pod 'west'" in str(refused)
    assert refused.matrix() == [
        ["approves", "north", "south", "west"],
        ["north", "-", "yes", "no"],
        ["south", "yes", "-", "yes"],
        ["west", "yes", "yes", "-"],
    ]
    no_share_left(grid)


def test_every_pod_that_refuses_is_named(pods: LinearPods) -> None:
    pods.approved = {"north": (), "south": ("north", "west"), "west": ("south",)}
    refused = no_cohort(pods.grid())
    assert len(refused.reasons) == 2
    assert "pod 'north' does not approve pod 'south', pod 'west'" in str(refused)
    assert "pod 'west' does not approve pod 'north'" in str(refused)


def test_an_approved_pod_whose_key_is_not_known_is_not_approved(pods: LinearPods) -> None:
    path = known_pods(pods.home("south"))
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("west")))
    assert "pod 'south' does not approve pod 'west'" in str(no_cohort(pods.grid()))


def mallorys(hello: Hello, directory: Path) -> Hello:
    """Return the hello that Mallory signs, with keys of his own, under another's name."""
    mallory = Identity.load_or_create(directory / "mallory")
    forged = replace(hello, identity_key=mallory.public_bytes, sealing_key=bytes([9]) + bytes(31))
    said = statement(HELLO, forged.session, forged.name, "", forged.unsigned())
    return replace(forged, signature=mallory.sign(said))


def test_a_key_swapped_on_the_way_stops_the_run(pods: LinearPods) -> None:
    def swap(message: Message) -> Message:
        record = message.content[SECAGG_RECORD]
        if "Hello" in record and records.take(message.content, Hello).name == "west":
            records.put(message.content, mallorys(records.take(message.content, Hello), pods.directory))
        return message

    grid = pods.grid(on_reply=swap)
    refused = no_cohort(grid)
    for name in ("north", "south"):
        assert f"pod '{name}' knows pod 'west' by another key" in str(refused)
    assert "pod 'west' does not find its own hello" in str(refused)
    no_share_left(grid)


def test_a_pinned_key_that_is_another_ones_stops_the_run(pods: LinearPods) -> None:
    path = known_pods(pods.home("south"))
    lines = [line for line in path.read_text().splitlines(True) if not line.startswith("west")]
    path.write_text("".join(lines))
    Keyring.load(path).add("west", Identity.create(pods.directory / "new").public_bytes)
    grid = pods.grid()
    assert "pod 'south' knows pod 'west' by another key" in str(no_cohort(grid))
    no_share_left(grid, but=2)  # those of the two that had no objection; nobody gets to use them


def test_a_missing_pod_stops_the_run_at_the_deadline_and_those_online_are_named(pods: LinearPods) -> None:
    grid = pods.grid(nodes=("north", "south"))
    refused = no_cohort(grid, hello=0.3)
    assert "pod 'west' did not answer within 0 seconds (online: north, south)" in str(refused)
    assert refused.matrix()[3] == ["west", "?", "?", "-"]


def test_a_pod_on_two_nodes_stops_the_run(pods: LinearPods) -> None:
    grid = pods.grid(nodes=("north", "south", "west", "west"))
    assert "two nodes answer as pod 'west'" in str(no_cohort(grid))
    no_share_left(grid)


def test_a_pod_listed_twice_on_the_roster_is_refused_by_every_pod(pods: LinearPods) -> None:
    def twice(message: Message) -> Message:
        if message.metadata.message_type == ROSTER_MESSAGE:
            hellos = records.take(message.content, records.RosterRequest).hellos
            records.put(message.content, records.RosterRequest(tuple(sorted((*hellos, hellos[0]), key=key))))
        return message

    def key(hello: Hello) -> bytes:
        return hello.identity_key

    grid = pods.grid(on_request=twice)
    assert len(no_cohort(grid).reasons) == 3
    assert all("lists one name twice" in text for text in refusals(grid))
    no_share_left(grid)


def test_a_cohort_below_a_pods_minimum_is_refused(pods: LinearPods) -> None:
    pods.policies["south"] = Policy(minimum_cohort=4)
    grid = pods.grid()
    assert "pod 'south' asks for a cohort of at least 4 pods; this one has 3" in str(no_cohort(grid))
    no_share_left(grid)


def test_plain_averaging_against_a_pods_policy_is_refused_before_it_trains(pods: LinearPods) -> None:
    for name in ("north", "west"):
        pods.policies[name] = Policy(minimum_cohort=2, require_secure_aggregation=False)
    refused = no_cohort(pods.grid(), secure=False)
    assert refused.reasons == ("pod 'south' takes part in secure aggregation only",)
    assert not pods.trained  # type: ignore[attr-defined]


def test_a_server_that_asks_for_the_plain_step_in_a_secure_session_is_refused(pods: LinearPods) -> None:
    def plainly(message: Message) -> Message:
        message.metadata.message_type = message.metadata.message_type.replace("train.masked", "train.plain")
        return message

    grid = pods.grid(on_request=plainly)
    _, failed = run(grid)
    assert failed[0].count("takes part in secure aggregation only") == 3
    assert not pods.trained  # type: ignore[attr-defined]
    assert not any(VALUES_RECORD in reply.content for reply in grid.replies)


def test_other_pods_on_the_federation_are_left_alone_whatever_state_they_are_in(pods: LinearPods) -> None:
    everyone = LinearPods(pods.directory / "more", (*NAMES, "east"))
    shutil.rmtree(pod_home("east", everyone.home("east")))  # its owner has lost the key
    grid = everyone.grid()
    result, failed = run(grid)
    assert not failed
    assert result.arrays is not None
    east = [reply for reply in grid.replies if "Refusal" in reply.content[SECAGG_RECORD]]
    assert len(east) == 1


def test_a_pod_that_was_not_requested_says_its_name_and_nothing_else(pods: LinearPods) -> None:
    everyone = LinearPods(pods.directory / "more", (*NAMES, "east"))
    grid = everyone.grid()
    assert not run(grid)[1]
    (reply,) = [r.content for r in grid.replies if "Bystander" in r.content[SECAGG_RECORD]]
    assert records.take(reply, records.Bystander) == records.Bystander("east")
    assert set(reply) == {SECAGG_RECORD}


# --- what a pod keeps to itself when something breaks


def leaked(grid: InProcessGrid, pods: LinearPods) -> bool:
    secrets = [MARKER, str(pods.directory), "Traceback", "Error"]
    sent = [message_to_proto(reply).SerializeToString() for reply in grid.replies]
    return any(secret.encode() in data for secret in secrets for data in sent)


EXCEPTIONS: dict[str, Callable[[str], BaseException]] = {
    "value": lambda path: ValueError(f"{MARKER} in {path}"),
    "key": lambda path: KeyError(MARKER),
    "file": lambda path: FileNotFoundError(2, MARKER, path),
    "own": lambda path: FlAppError(f"{MARKER} in {path}"),
    "nested": lambda path: RuntimeError(ValueError(MARKER), path),
}


@pytest.mark.parametrize("what", EXCEPTIONS)
@pytest.mark.parametrize("handler", ["train", "evaluate"])
def test_a_handlers_exception_stays_in_the_pods_log(
    what: str, handler: str, pods: LinearPods, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(message: Message, context: Context) -> Message:
        raise EXCEPTIONS[what](str(pods.directory))

    pods.handlers[handler] = broken
    grid = pods.grid()
    _, failed = run(grid)
    assert "pod 'west' could not answer; its own log says why" in failed[0]
    assert not leaked(grid, pods)
    assert not any(reply.has_error() for reply in grid.replies)
    assert MARKER in caplog.text
    assert MARKER not in "".join(failed)


def test_a_handlers_reply_that_cannot_be_used_tells_nothing_of_it(pods: LinearPods) -> None:
    def strange(message: Message, context: Context) -> Message:
        return Message(RecordDict({MARKER: ConfigRecord({MARKER: MARKER})}), reply_to=message)

    pods.handlers["train"] = strange
    grid = pods.grid()
    _, failed = run(grid)
    assert "exactly one MetricRecord" in failed[0]
    assert not leaked(grid, pods)


def test_an_owner_who_cannot_be_found_is_no_reason_to_tell_where(pods: LinearPods) -> None:
    key = pod_home("west", pods.home("west")) / "identity.key"
    key.chmod(0o644)
    grid = pods.grid()
    refused = no_cohort(grid, hello=0.3)
    assert "could not answer; its own log says why" in str(refused)
    assert set(refused.approvals) == {"north", "south"}
    assert not leaked(grid, pods)


def test_every_refusal_is_in_the_pods_ledger(pods: LinearPods) -> None:
    pods.approved["north"] = ()
    no_cohort(pods.grid(5))
    (entry,) = Ledger(pod_home("north", pods.home("north")) / "ledger.db").entries()
    assert (entry.run, entry.event, entry.kind) == ("5", "refusal", "query.hello")
    assert "does not approve" in entry.why


# --- a run that is tampered with


def for_pod(pods: LinearPods, name: str, change: Callable[[Message], None]) -> Callable[[Message], Message]:
    """Return a tampering that changes the first training request to one pod."""
    node = 101 + list(pods.names).index(name)

    def tamper(message: Message) -> Message:
        if message.metadata.message_type == MASKED_TRAIN and message.metadata.dst_node_id == node:
            change(message)
        return message

    return tamper


def other_model(message: Message) -> None:
    message.content = unpacked(message.content)
    arrays = {name: array.numpy() for name, array in message.content["arrays"].items()}
    arrays["b"] = arrays["b"] + 1e-9
    message.content["arrays"] = ArrayRecord({name: Array(array) for name, array in arrays.items()})


CHANGES: dict[str, Callable[[Message], None]] = {
    "another learning rate": lambda m: m.content["config"].__setitem__("lr", 0.0),
    "one setting more": lambda m: m.content["config"].__setitem__("proximal-mu", 0.1),
    "another model": other_model,
    "one record more": lambda m: m.content.__setitem__("more", ConfigRecord({})),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_pod_that_is_told_something_else_spoils_the_sum_and_nothing_is_learned(what: str, pods: LinearPods) -> None:
    grid = pods.grid(on_request=for_pod(pods, "south", CHANGES[what]))
    result, failed = run(grid)
    assert isinstance(result, FlAppError)
    # The server of this test signs nothing itself: it notices by the signature over another label.
    assert "the signature of pod 'south' does not verify" in failed[0]


def test_masks_of_pods_told_different_things_do_not_cancel(pods: LinearPods, monkeypatch: pytest.MonkeyPatch) -> None:
    # The same with a server that overlooks the signature: the roll call fails.
    monkeypatch.setattr("fl_app.secagg.aggregator.verify", lambda *args: None)
    grid = pods.grid(on_request=for_pod(pods, "south", CHANGES["another learning rate"]))
    result, failed = run(grid)
    assert isinstance(result, FlAppError)
    assert "a roll call failed" in failed[0]


# --- a pod that is asked again


def test_a_pod_whose_state_was_lost_after_an_answer_gives_no_second_one_but_goes_on(pods: LinearPods) -> None:
    node, states, asked = 102, [], []

    def remember(message: Message) -> Message:
        if message.metadata.message_type == MASKED_TRAIN and message.metadata.dst_node_id == node:
            states.append(copy.deepcopy(grid.contexts[node].state))
            asked.append(copy.deepcopy(message.content))
        return message

    grid = pods.grid(on_request=remember)
    _, failed = run(grid, membership_changes=2)  # two rounds more than are run are declared
    assert not failed
    first = next(reply for reply in grid.replies if reply.metadata.message_type == MASKED_TRAIN)

    def ask(content: RecordDict) -> RecordDict:
        grid.contexts[node].state = copy.deepcopy(states[0])  # as after a crash between entry and reply
        (reply,) = grid.send_and_receive([Message(content, dst_node_id=node, message_type=MASKED_TRAIN)])
        return reply.content

    again = records.take(ask(asked[0]), records.Refusal)
    assert (again.code, again.text) == ("answered", "round 1 of 'train' comes after round 1 was begun")
    changed = RecordDict({**asked[0], "config": ConfigRecord({"lr": 0.0})})
    assert records.take(ask(changed), records.Refusal).code == "answered"
    later = records.put(RecordDict(dict(asked[0])), replace(records.take(asked[0], Step), round=2))
    assert len(records.take_vector(ask(later))) == len(records.take_vector(first.content))


def test_a_round_answered_in_one_session_is_refused_in_the_next(pods: LinearPods) -> None:
    assert not run(pods.grid(1))[1]
    _, failed = run(pods.grid(1))  # the same run again, a new session in it
    assert failed[0].count("round 1 of 'train' comes after round 1 was begun") == 3
    assert not run(pods.grid(2))[1]


def test_a_ledger_that_disappears_in_the_middle_of_a_run_ends_it(pods: LinearPods) -> None:
    ledger = pod_home("south", pods.home("south")) / "ledger.db"

    def lose(message: Message) -> Message:
        if message.metadata.message_type == MASKED_TRAIN and records.take(message.content, Step).round == 2:
            ledger.unlink(missing_ok=True)
        return message

    result, failed = run(pods.grid(on_request=lose), rounds=2)
    assert isinstance(result, FlAppError)
    assert "was deleted or replaced" in failed[0]


# --- replies that are no answers: typed failures that name the pod, never a crash of the server


def replied(message_type: str, change: Callable[[RecordDict], Any], node: int = 102) -> Callable[[Message], Message]:
    def tamper(message: Message) -> Message:
        if message.metadata.message_type == message_type and message.metadata.src_node_id == node:
            change(message.content)
        return message

    return tamper


def hostile_array(content: RecordDict, record: str, name: str) -> None:
    content[record][name] = Array("uint64", (3,), "numpy.ndarray", b"\x93NUMPY\x01\x00\x06\x00((((((")


HOSTILE: dict[str, Callable[[RecordDict], Any]] = {
    "nothing": lambda c: c.clear(),
    "no vector": lambda c: c.__delitem__("masked"),
    "no signature": lambda c: c.__delitem__("secagg"),
    "something more": lambda c: c.__setitem__("metrics", ConfigRecord({"num-examples": 30})),
    "an array that is none": lambda c: hostile_array(c, "masked", "vector"),
    "another vector": lambda c: records.put_vector(c, np.zeros(20, "<u8")),
    "a vector of floats": lambda c: records.put_vector(c, np.zeros(19)),
    "garbage for a message": lambda c: c.__setitem__("secagg", ConfigRecord({"MaskedReply": b"garbage"})),
    "a refusal that is none": lambda c: c.__setitem__("secagg", ConfigRecord({"Refusal": b"garbage"})),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_reply_that_is_no_masked_vector_fails_the_round(what: str, pods: LinearPods) -> None:
    result, failed = run(pods.grid(on_reply=replied(MASKED_TRAIN, HOSTILE[what])))
    assert isinstance(result, FlAppError)
    assert failed[0].startswith("the 'train' step of round 1 failed: ")


PLAIN_HOSTILE: dict[str, Callable[[RecordDict], Any]] = {
    "nothing": lambda c: c.clear(),
    "no weight": lambda c: c["values"].__delitem__("weight"),
    "no update": lambda c: c["values"].__delitem__("update"),
    "another size": lambda c: c["values"].__setitem__("update", Array(np.zeros(3))),
    "another weight": lambda c: c["values"].__setitem__("weight", Array(np.zeros(0, int))),
    "an array that is none": lambda c: hostile_array(c, "values", "update"),
    "something more": lambda c: c["values"].__setitem__("more", Array(np.zeros(3))),
}


@pytest.mark.parametrize("what", PLAIN_HOSTILE)
def test_a_plain_reply_that_is_none_fails_the_round(what: str, tmp_path: Path) -> None:
    open_pods = LinearPods(tmp_path, secure_only=False)
    grid = open_pods.grid(on_reply=replied(PLAIN_TRAIN, PLAIN_HOSTILE[what]))
    result, failed = run(grid, secure=False)
    assert isinstance(result, FlAppError)
    assert failed[0].startswith("the 'train' step of round 1 failed: ")


@pytest.mark.parametrize("secure", [True, False])
def test_no_examples_at_all_is_a_failed_round(secure: bool, tmp_path: Path) -> None:
    def nobody(message: Message, context: Context) -> Message:
        reply = train(message, context)
        reply.content["metrics"]["num-examples"] = 0
        return reply

    idle = LinearPods(tmp_path, secure_only=False)
    idle.handlers["train"] = nobody
    result, failed = run(idle.grid(), secure=secure)
    assert isinstance(result, FlAppError)
    assert "total weight is zero" in failed[0]


def test_a_pod_that_does_not_answer_a_round_is_named(pods: LinearPods) -> None:
    def lose(message: Message) -> Message | None:
        lost = message.metadata.message_type == MASKED_TRAIN and message.metadata.src_node_id == 103
        return None if lost else message

    secure, failed = strategy(FedAvg(), on_skip=lambda number, error: failed.append(str(error))), list[str]()
    with pytest.raises(FlAppError):
        secure.start(pods.grid(on_reply=lose), initial(), 1, 0.2, config(), config())
    assert "pod 'west': no answer within 0 seconds" in failed[0]


def test_an_error_of_flowers_own_names_the_pod(pods: LinearPods) -> None:
    def broken(message: Message) -> Message:
        if message.metadata.message_type == MASKED_TRAIN and message.metadata.src_node_id == 103:
            request = last_request(grid, MASKED_TRAIN)
            return Message(Error(code=8, reason=f"{MARKER} was killed"), reply_to=request)
        return message

    grid = pods.grid(on_reply=broken)
    _, failed = run(grid)
    assert failed[0].endswith("pod 'west': its app was killed or crashed (Flower's error 8)")


def last_request(grid: InProcessGrid, message_type: str) -> Message:
    return [m for m in grid.requests if m.metadata.message_type == message_type][-1]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: c.clear(), "reply to the hello cannot be used"),
        (
            lambda c: c.__setitem__("secagg", ConfigRecord({"Hello": b"garbage"})),
            "reply to the hello cannot be used",
        ),
        (lambda c: records.put(c, replace(records.take(c, Hello), published=bytes(32))), "signature of pod 'south'"),
        (lambda c: c.pop("published"), "hello of pod 'south' came without what the pod publishes"),
        (lambda c: c["published"].update(more=b""), "hello of pod 'south' came without what the pod publishes"),
        (lambda c: records.put_published(c, records.Published("{}", ())), "'south' is not what it publishes"),
        (lambda c: c["published"].update(content=b"garbage"), "reply to the hello cannot be used"),
        (
            lambda c: c["published"].update(content=bytes(records.MAX_MESSAGE + 1)),
            "what pod 'south' publishes has 4,194,305 bytes, and at most 4,194,304 are read",
        ),
    ],
    ids=range(8),
)
def test_a_hello_that_is_none_is_a_missing_pod(change: Any, text: str, pods: LinearPods) -> None:
    refused = no_cohort(pods.grid(on_reply=replied(HELLO_MESSAGE, change)), hello=0.3)
    assert "pod 'south' did not answer within 0 seconds (online: north, west)" in str(refused)
    assert text in str(refused)


def test_a_roster_that_no_pod_would_read_says_so(pods: LinearPods, monkeypatch: pytest.MonkeyPatch) -> None:
    def lower(message: Message) -> Message:
        if message.metadata.src_node_id == 103:  # the last hello has come
            monkeypatch.setattr(records, "MAX_MESSAGE", 1_000)
        return message

    refused = no_cohort(pods.grid(on_reply=lower))
    assert "the roster of 3 pods has " in str(refused)
    assert "at most 1,000 are read: ask fewer pods" in str(refused)


def test_a_pod_whose_schema_cannot_be_sent_says_which_columns(
    pods: LinearPods, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = [f"code {number:04}" for number in range(200)]
    pd.DataFrame({"code": codes * 2, "ward": ["A", "B"] * 200}).to_csv(pods.directory / "t.csv", index=False)
    policy = Policy(minimum_cohort=2, minimum_category_count=2)
    table = PodTable.of(Pod(name="north", datasource=CSVSource(pods.directory / "t.csv"), policy=policy))

    def owner(context: Context) -> Owner:
        name = str(context.node_config["pod"])
        schema = table.schema if name == "north" else lambda proposal: "{}"
        return owner_of(name, NAMES, policy, home=pods.home(name), schema=schema)

    monkeypatch.setattr(pods, "owner", owner)
    assert run(pods.grid(1))[1] == []
    monkeypatch.setattr(records, "MAX_MESSAGE", 2_500)
    (reason,) = (reason for reason in no_cohort(pods.grid(2)).reasons if "north" in reason)
    assert "the schema of pod 'north' has " in reason
    assert "at most 2,500 are read; most are of 'code' with 200 values, 'ward' with 2 values: " in reason


def doubled(content: RecordDict) -> None:
    first, *_ = records.take(content, records.RosterReply).shares
    records.put(content, records.RosterReply((first, first)))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: c.clear(), "expected a message of type RosterReply"),
        (lambda c: records.put(c, records.RosterReply(())), "exactly one share for each neighbour"),
        (doubled, "exactly one share for each neighbour"),
    ],
    ids=range(3),
)
def test_shares_that_are_none_stop_the_run(change: Any, text: str, pods: LinearPods) -> None:
    refused = no_cohort(pods.grid(on_reply=replied(ROSTER_MESSAGE, change)))
    assert "pod 'south'" in str(refused)
    assert text in str(refused)
