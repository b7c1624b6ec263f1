"""A server that lies is found at the first lie: the real ServerApp and the real pods, with messages altered between."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from safetensors.numpy import load_file

from client.app.replica_store import ReplicaStore
from fl_app.config import RunConfig
from fl_app.federation.kinds import SimulatedFederation
from fl_app.flower import names, records
from fl_app.flower.packing import unpacked
from fl_app.replica.state import Replica
from fl_app.tabular.early_stopping import EarlyStopping
from fl_app.tabular.settings import DataStructure, Optimizer
from server.app.run_directory import RunDirectory
from server.modeller.launch import FitFailed, fit
from tests.support.in_process import InProcessGrid
from tests.support.small_federation import PODS, InProcess

Change = Callable[[Message, int], None]
"""Alters a message to a pod; beside it, how many messages of its type there have been."""
TYPES = {"statistics": "query.masked", "train": "train.masked", "evaluate": "evaluate.masked"}


def settings(rounds: int = 3, **others: Any) -> RunConfig:
    return RunConfig(
        pods=PODS,
        datastructure=DataStructure(target="outcome"),
        rounds=rounds,
        local_epochs=1,
        batch_size=64,
        optimizer=Optimizer(name="SGD", params={"lr": 0.05}),
        rejoin_timeout=2.0,
        **others,
    )


class Between(InProcess):
    """The launcher of a server whose messages are altered on their way; it keeps what the pods were sent."""

    def __init__(self, change: Change) -> None:
        self._change = change
        self._seen: dict[str, int] = {}
        self.requests: list[tuple[str, RecordDict]] = []

    def on_request(self, message: Message) -> Message:
        kind = message.metadata.message_type
        self._seen[kind] = self._seen.get(kind, 0) + 1
        message.content = unpacked(message.content)
        self._change(message, self._seen[kind])
        self.requests.append((kind, message.content))
        return message


@pytest.fixture
def altered(small: SimulatedFederation, monkeypatch: pytest.MonkeyPatch) -> Callable[[Change], Between]:
    def install(change: Change) -> Between:
        launcher = Between(change)
        monkeypatch.setattr("server.modeller.launch.launcher_for", lambda federation: launcher)
        return launcher

    return install


def nothing(message: Message, number: int) -> None:
    pass


def at(kind: str, number: int, change: Callable[[RecordDict], None]) -> Change:
    """Alter the n-th round of a step, for both pods."""

    def alter(message: Message, seen: int) -> None:
        if message.metadata.message_type == TYPES[kind] and (seen + 1) // 2 == number:
            change(message.content)

    return alter


def refused(small: SimulatedFederation, config: RunConfig) -> tuple[RunDirectory, str]:
    with pytest.raises(FitFailed) as failed:
        fit(config, small)
    return failed.value.run, str(failed.value)


def ledger(home: Path, pod: str, query: str) -> list[Any]:
    with closing(sqlite3.connect(home / "home/pods" / pod / "ledger.db")) as database:
        return database.execute(query).fetchall()


# --- what an honest server sends


def test_the_server_sends_no_network_and_nothing_else_that_a_pod_would_have_to_believe(
    small: SimulatedFederation, altered: Callable[[Change], Between], tmp_path: Path
) -> None:
    sent = altered(nothing)
    results = fit(settings(), small).results().document()
    assert results["status"] == "completed"
    asked = {kind: [content for sort, content in sent.requests if sort == TYPES[kind]] for kind in TYPES}
    proof = {names.SECAGG_RECORD, names.PROOF_RECORD, names.SUM_RECORD}
    assert [set(content) for content in asked["statistics"]] == [
        {names.SECAGG_RECORD, names.SHARES_RECORD, names.COHORT_RECORD}
    ] * 2
    assert [set(content) for content in asked["train"]] == [proof] * 6
    assert {frozenset(content) for content in asked["evaluate"]} == {frozenset(proof)}
    # With round 1 goes the sum of the statistics, with later ones 8 bytes a parameter and what was counted.
    sizes = [sum(len(array.data) for array in content.array_records[names.SUM_RECORD].values())
             for content in asked["train"]]  # fmt: skip
    model = load_file(RunDirectory.find(tmp_path / "runs" / results["run_id"]).model_path())
    parameters = sum(array.size for array in model.values())
    assert sizes[2] == sizes[4]
    assert 8 * parameters < sizes[2] < 8 * parameters + 20_000
    # Every pod has followed every step whose sum it was told, and its ledger says so.
    for pod in PODS:
        followed = ledger(tmp_path, pod, "SELECT kind, round FROM entries WHERE event = 'followed' ORDER BY seq")
        assert followed[:4] == [("statistics", 1), ("train", 1), ("train", 2), ("train", 3)]
    heads = [ledger(tmp_path, pod, "SELECT detail FROM entries WHERE event = 'followed'") for pod in PODS]
    assert heads[0] == heads[1]


# --- sums


def first_word(content: RecordDict, change: Callable[[np.ndarray[Any, Any]], None]) -> None:
    total = content[names.SUM_RECORD]
    assert isinstance(total, ArrayRecord)
    words = np.array(records.array_of(total[names.VECTOR]))
    change(words)
    content[names.SUM_RECORD] = ArrayRecord({names.VECTOR: records.array_from(words)})


def one_more(words: np.ndarray[Any, Any]) -> None:
    words[len(words) // 2] = (int(words[len(words) // 2]) + 1) % ((1 << 61) - 1)


@pytest.mark.parametrize(("kind", "number"), [("train", 1), ("train", 2), ("evaluate", 1)])
def test_a_forged_sum_is_refused_by_every_pod_and_ends_its_part_in_the_run(
    kind: str, number: int, small: SimulatedFederation, altered: Callable[[Change], Between], tmp_path: Path
) -> None:
    altered(at(kind, number, lambda content: first_word(content, one_more)))
    run, text = refused(small, settings())
    assert "the server's proof of the sum of step" in text
    assert "does not hold: its tag is not that of the cohort's vectors" in text
    for pod in PODS:
        why = ledger(tmp_path, pod, "SELECT why FROM entries WHERE event = 'refusal' ORDER BY seq")
        assert "the server's proof of the sum" in why[0][0]
        begun = ledger(tmp_path, pod, "SELECT kind, round FROM entries WHERE event = 'begin'")
        assert (kind, number) not in begun  # nothing was computed on the lie
        # The server may say hello again: the pod's part in this training is over.
        assert kind == "evaluate" or any("part in it is over" in text for (text,) in why[1:])
    assert run.results().document()["status"] == "failed"


def test_the_proof_of_another_step_is_refused(small: SimulatedFederation, altered: Callable[[Change], Between]) -> None:
    kept: dict[str, Any] = {}

    def keep_and_replay(message: Message, seen: int) -> None:
        if message.metadata.message_type != TYPES["train"]:
            return
        number = (seen + 1) // 2
        if number == 2:
            kept.update({name: message.content[name] for name in (names.PROOF_RECORD, names.SUM_RECORD)})
        if number == 3:
            for name, record in kept.items():
                message.content[name] = record

    altered(keep_and_replay)
    run, _ = refused(small, settings())
    # Round 2's proof was followed before: a pod that is told it again waits for the one of round 3 and gets none. Both
    # go on from where they are, and so the next label is that of their own replicas and not the server's.
    assert "round 3 failed" in str(run.results().document()["error"]) or run.results().document()["skipped"]


def test_a_proof_under_another_label_is_refused(
    small: SimulatedFederation, altered: Callable[[Change], Between]
) -> None:
    def relabel(content: RecordDict) -> None:
        given = records.take_proof(content)
        assert given is not None
        proof, total = given
        changed = records.put_proof(RecordDict(), type(proof)(bytes(32), proof.survivors), total)
        for name, record in changed.items():
            content[name] = record

    altered(at("train", 2, relabel))
    _, text = refused(small, settings())
    assert "it is another step's" in text


# --- what a request may hold


@pytest.mark.parametrize(
    ("record", "held"),
    [
        (names.ARRAYS_RECORD, ArrayRecord({"w": Array(np.zeros(3, np.float32))})),
        (names.CONFIG_RECORD, ConfigRecord({names.ENCODING: "{}", names.SCORE_EDGES: b""})),
        ("metrics", MetricRecord({"loss": 1.0})),
    ],
)
def test_a_request_with_more_than_pods_ask_for_is_refused(
    record: str,
    held: ArrayRecord | ConfigRecord | MetricRecord,
    small: SimulatedFederation,
    altered: Callable[[Change], Between],
) -> None:
    altered(at("train", 1, lambda content: content.__setitem__(record, held)))
    (skipped,) = fit(settings(), small).results().document()["skipped"]
    assert f"holds '{record}', which no pod asks for" in skipped["why"]


def test_another_model_than_that_of_the_round_that_is_named_is_refused(
    small: SimulatedFederation, altered: Callable[[Change], Between]
) -> None:
    asked = EarlyStopping(metric="loss", patience=1, min_delta=5.0)  # nothing improves so much: round 1 is the best

    def other(content: RecordDict) -> None:
        model = content[names.ARRAYS_RECORD]
        assert isinstance(model, ArrayRecord)
        content[names.ARRAYS_RECORD] = ArrayRecord(
            {name: Array(array.numpy() + np.float32(1)) for name, array in model.items()}
        )

    altered(nothing)
    results = fit(settings(5, early_stopping=asked), small).results().document()
    assert results["kept"] < results["rounds"][-1]["round"]  # else this test shows nothing
    altered(at("evaluate", 1, other))
    _, text = refused(small, settings(5, early_stopping=asked))
    assert "the model that the server sends is not that of round" in text


def test_what_the_pods_publish_cannot_be_put_into_their_mouths(
    small: SimulatedFederation, altered: Callable[[Change], Between]
) -> None:
    def lie(content: RecordDict) -> None:
        cohort = content[names.COHORT_RECORD]
        assert isinstance(cohort, ConfigRecord)
        shown = records.Published.from_bytes(bytes(cohort["south"]))  # type: ignore[arg-type]
        schema = json.loads(shown.schema)
        schema["columns"][0]["high"] = 50.0
        lied = type(shown)(json.dumps(schema), shown.approves, shown.versions, shown.declared)
        content[names.COHORT_RECORD] = ConfigRecord({**cohort, "south": lied.to_bytes()})

    altered(at("statistics", 1, lie))
    _, text = refused(small, settings())
    assert "what came with the hello of pod 'south' is not what it publishes" in text


# --- pods that were away


@pytest.fixture
def grids(monkeypatch: pytest.MonkeyPatch) -> list[InProcessGrid]:
    made: list[InProcessGrid] = []
    begin = InProcessGrid.__post_init__

    def keep(grid: InProcessGrid) -> None:
        begin(grid)
        made.append(grid)

    monkeypatch.setattr(InProcessGrid, "__post_init__", keep)
    return made


def restart(grid: InProcessGrid, node: int) -> None:
    grid.contexts[node].state = RecordDict()


@pytest.mark.parametrize("lost", ["memory", "replica"])
def test_a_pod_that_was_restarted_goes_on_verified(
    lost: str,
    small: SimulatedFederation,
    altered: Callable[[Change], Between],
    grids: list[InProcessGrid],
    tmp_path: Path,
) -> None:
    altered(nothing)
    undisturbed = fit(settings(4), small).results().document()

    def stop(message: Message, seen: int) -> None:
        if message.metadata.message_type == TYPES["train"] and seen == 5:  # the first of round 3
            restart(grids[-1], 100)
            if lost == "replica":
                for path in (tmp_path / "home/pods/north/replicas").glob("*"):
                    path.unlink()

    sent = altered(stop)
    results = fit(settings(4), small).results().document()
    assert [entry["round"] for entry in results["skipped"]] == [3]
    assert [entry["round"] for entry in results["rounds"]] == [1, 2, 4, 5]
    assert results["secure_aggregation"]["sessions"] == 2
    given = [content for kind, content in sent.requests if names.REPLICA_RECORD in content]
    assert len(given) == (1 if lost == "replica" else 0)
    assert results["final"]["auc"] == pytest.approx(undisturbed["final"]["auc"], abs=0.02)


def test_a_pod_without_a_replica_takes_none_that_the_others_do_not_vouch_for(
    small: SimulatedFederation,
    altered: Callable[[Change], Between],
    grids: list[InProcessGrid],
    tmp_path: Path,
) -> None:
    def stop(message: Message, seen: int) -> None:
        if message.metadata.message_type == TYPES["train"] and seen == 5:
            restart(grids[-1], 100)
            for path in (tmp_path / "home/pods/north/replicas").glob("*"):
                path.unlink()
        if (data := records.take_replica(message.content)) is not None:
            replica = Replica.from_bytes(data)
            crafted = {name: array + np.float32(1) for name, array in replica.model.items()}
            lied = Replica(replica.place, replica.facts, crafted, {}, replica.completed, replica.history)
            message.content = records.put_replica(message.content, lied.to_bytes())

    altered(stop)
    run, _ = refused(small, settings(4))
    said = [text for (text,) in ledger(tmp_path, "north", "SELECT why FROM entries WHERE event = 'refusal'")]
    assert any("not the one that the other pods have followed" in text for text in said)
    assert run.results().document()["status"] == "failed"


def test_a_damaged_replica_counts_as_none(small: SimulatedFederation, tmp_path: Path) -> None:
    store = ReplicaStore(tmp_path / "replicas", "a series")
    assert store.load() == (Replica(), b"")
    store.save(Replica(3, {"schema": "{}"}), b"l" * 32)
    replica, label = ReplicaStore(tmp_path / "replicas", "a series").load()
    assert (replica.place, label) == (3, b"l" * 32)
    (path,) = (tmp_path / "replicas").iterdir()
    assert path.stat().st_mode & 0o077 == 0
    assert ReplicaStore(tmp_path / "replicas", "another").load()[0].place == 0
    path.write_bytes(path.read_bytes()[:-1])
    assert ReplicaStore(tmp_path / "replicas", "a series").load() == (Replica(), b"")
