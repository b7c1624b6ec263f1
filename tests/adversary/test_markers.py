"""Markers planted in a pod's table, paths, environment and keys: whatever breaks there, no reply holds one of them."""

import base64
import copy
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict

import client.app.main
from client.app.ledger import Ledger
from fl_app.config import RunConfig
from fl_app.flower.names import (
    HELLO_MESSAGE,
    MASKED_EVALUATE,
    MASKED_MESSAGES,
    MASKED_STATISTICS,
    MASKED_TRAIN,
    ROSTER_MESSAGE,
    SECAGG_RECORD,
    SURVIVORS_MESSAGE,
    UNMASK_MESSAGE,
)
from fl_app.identity.known_pods import Keyring, keygen, known_pods
from fl_app.secagg.crypto import KEY_BYTES
from fl_app.system.home import REPLICAS_DIRECTORY, pod_home
from server.app.main import app as server_app
from server.app.run_directory import RUN_DIRECTORY_VARIABLE, RunDirectory
from tests.support.in_process import InProcessGrid
from tests.support.small_federation import table, write_pod
from tests.support.wire import shows

NAMES = ("north", "south", "east", "west")
ME = "north"
DIGITS = "471108135792"
"""Looked for in ledgers too, whose digests are random hexadecimal digits: long enough not to occur there by chance."""
MARKER, NUMBER = f"patient-{DIGITS}", float(f"{DIGITS}.0625")
TYPES = (HELLO_MESSAGE, ROSTER_MESSAGE, *MASKED_MESSAGES.values(), SURVIVORS_MESSAGE, UNMASK_MESSAGE)


@dataclass
class Recorded:
    """An honest run of four pods, one of them lost for a round, stopped at each kind of message to one pod.

    ``moments`` are, for each type, the first such message, what the pod remembered then, its ledger and its replicas.
    """

    directory: Path
    moments: dict[str, tuple[RecordDict, RecordDict, bytes, dict[str, bytes]]] = field(default_factory=dict)
    replies: list[Message] = field(default_factory=list)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    directory = tmp_path_factory.mktemp("recorded") / MARKER
    directory.mkdir()
    for seed, name in enumerate(NAMES):
        rows = table(600, seed)
        rows.loc[3, "colour"] = MARKER
        rows.loc[5, "age"] = NUMBER
        rows.to_csv(directory / f"{name}.csv", index=False)
        write_pod(directory, name, NAMES)
        keygen(name, directory / "home")
    made = Recorded(directory)

    def keep(message: Message) -> Message:
        kind, node = message.metadata.message_type, message.metadata.dst_node_id
        if node == 100 and kind not in made.moments:
            state = copy.deepcopy(grid.contexts[node].state)
            home = pod_home(ME, directory / "home")
            ledger, replicas = home / "ledger.db", (home / REPLICAS_DIRECTORY).glob("*")
            made.moments[kind] = (
                copy.deepcopy(message.content),
                state,
                ledger.read_bytes() if ledger.exists() else b"",
                {path.name: path.read_bytes() for path in replicas},
            )
        return message

    def lose(message: Message) -> Message:
        lost = message.metadata.message_type == MASKED_TRAIN and message.metadata.src_node_id == 103
        if lost:
            message.content["masked"] = ArrayRecord({"vector": Array("uint64", (0,), "numpy.ndarray", b"")})
        return message

    nodes = {100 + place: node_config(directory, name) for place, name in enumerate(NAMES)}
    grid = InProcessGrid(client.app.main.app, nodes, on_request=keep, on_reply=lose)
    config = RunConfig(
        pods=NAMES, datastructure={"target": "outcome"}, rounds=1, local_steps=1, hello_timeout=5, step_timeout=60
    )  # type: ignore[arg-type]
    run = RunDirectory.create(directory / "runs", config)
    with mock.patch.dict(os.environ, {RUN_DIRECTORY_VARIABLE: str(run.path)}):
        server_app(grid, Context(grid.run_id, 0, {}, RecordDict(), {}))
    made.replies = [reply for reply in grid.replies if reply.metadata.src_node_id == 100]
    return made


def node_config(directory: Path, name: str) -> dict[str, str]:
    return {"pod": str(directory / f"{name}.yaml"), "home": str(directory / "home")}


@dataclass
class Broken:
    """A copy of the recorded pod's files, to break, and what must not be in a reply."""

    directory: Path

    @property
    def home(self) -> Path:
        return pod_home(ME, self.directory / "home")

    def secrets(self) -> list[bytes]:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        pem = (self.home / "identity.key").read_bytes()
        key: Any = load_pem_private_key(pem, None)
        raw = key.private_bytes_raw()
        assert len(raw) == KEY_BYTES
        found = [
            MARKER.encode(),
            DIGITS.encode(),
            str(self.directory).encode(),
            raw,
            raw.hex().encode(),
            base64.b64encode(raw),
        ]
        return [*found, *pem.splitlines()[1:-1], b"Traceback", b".csv", b".yaml"]


@pytest.fixture
def broken(recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broken]:
    monkeypatch.setenv("TOKEN_OF_THE_POD", MARKER)
    directory = tmp_path / MARKER
    shutil.copytree(recorded.directory, directory)
    yield Broken(directory)
    for path in directory.rglob("*"):
        path.chmod(0o700)


def ask(recorded: Recorded, broken: Broken, message_type: str, ruin: Callable[[], None]) -> Message:
    """Put the pod where it was before the first such message, break it, and return what it answers."""
    content, state, ledger, replicas = recorded.moments.get(message_type, recorded.moments[MASKED_TRAIN])
    (broken.home / "ledger.db").write_bytes(ledger)
    shutil.rmtree(broken.home / REPLICAS_DIRECTORY, ignore_errors=True)
    (broken.home / REPLICAS_DIRECTORY).mkdir()
    for name, data in replicas.items():
        (broken.home / REPLICAS_DIRECTORY / name).write_bytes(data)
    ruin()
    grid = InProcessGrid(client.app.main.app, {100: node_config(broken.directory, ME)})
    grid.contexts[100].state = copy.deepcopy(state)
    message = Message(copy.deepcopy(content), dst_node_id=100, message_type=message_type)
    (reply,) = grid.send_and_receive([message])
    return reply


def assert_clean(reply: Message, secrets: list[bytes]) -> None:
    assert not [secret for secret in secrets if shows(reply, secret)], reply


def refused(reply: Message) -> bool:
    return not reply.has_error() and "Refusal" in reply.content.get(SECAGG_RECORD, {})


# -- what breaks ----------------------------------------------------------------------------------------------------


def _write(path: Path, content: bytes) -> None:
    if path.is_dir():
        path.rmdir()
    path.write_bytes(content)


def _directory(path: Path) -> None:
    if not path.is_dir():
        path.unlink()
        path.mkdir()


_BINARY = b"\x00\xff\xfe" + MARKER.encode() * 100

FILES: dict[str, Callable[[Broken], None]] = {
    "a table that is none": lambda b: _write(b.directory / f"{ME}.csv", _BINARY),
    "a table with ragged rows": lambda b: _write(b.directory / f"{ME}.csv", f"age\n1,{MARKER},3\n2\n".encode()),
    "a table of other columns": lambda b: _write(b.directory / f"{ME}.csv", b"x,y\n" + f"{MARKER},2\n".encode()),
    "a table of text where numbers were": lambda b: _write(
        b.directory / f"{ME}.csv",
        b"age,colour,outcome\n" + "".join(f"{MARKER}-{row},red,yes\n" for row in range(50)).encode(),
    ),
    "no table": lambda b: (b.directory / f"{ME}.csv").unlink(missing_ok=True),
    "a directory for a table": lambda b: _directory(b.directory / f"{ME}.csv"),
    "a ledger that is none": lambda b: _write(b.home / "ledger.db", _BINARY),
    "a ledger cut short": lambda b: os.truncate(b.home / "ledger.db", 700),
    "a directory for a ledger": lambda b: _directory(b.home / "ledger.db"),
    "keys of others that are none": lambda b: _write(known_pods(b.directory / "home"), f"{MARKER} {MARKER}\n".encode()),
    "keys of others in no encoding": lambda b: _write(known_pods(b.directory / "home"), _BINARY),
    "a pod file that is none": lambda b: _write(b.directory / f"{ME}.yaml", f"name: [{MARKER}".encode()),
    "a pod file with a field too many": lambda b: _write(b.directory / f"{ME}.yaml", f"{MARKER}: {MARKER}".encode()),
    "no pod file": lambda b: (b.directory / f"{ME}.yaml").unlink(missing_ok=True),
    "a key that others may read": lambda b: (b.home / "identity.key").chmod(0o644),
}
SPENT = "a directory for a ledger"


@pytest.mark.parametrize("what", FILES)
def test_broken_files_of_the_pod_tell_nothing(what: str, recorded: Recorded, broken: Broken) -> None:
    secrets, outcomes = broken.secrets(), []
    for message_type in TYPES:
        if what == SPENT and (broken.home / "ledger.db").is_dir():
            (broken.home / "ledger.db").rmdir()
        reply = ask(recorded, broken, message_type, lambda: FILES[what](broken))
        assert_clean(reply, secrets)
        outcomes.append(refused(reply))
    assert any(outcomes), "nothing was broken"


@pytest.mark.parametrize("content", [_BINARY, b""])
def test_a_broken_key_tells_nothing(content: bytes, recorded: Recorded, broken: Broken) -> None:
    secrets = broken.secrets()
    for message_type in TYPES:
        reply = ask(recorded, broken, message_type, lambda: _write(broken.home / "identity.key", content))
        assert_clean(reply, secrets)
        assert refused(reply)


LOADERS = {
    "client.app.main.load_pod": TYPES,
    "client.app.owner.Identity.load": TYPES,
    "client.app.owner.Keyring.load": TYPES,
    "fl_app.tabular.table_file.read_table": (HELLO_MESSAGE, *MASKED_MESSAGES.values()),
    # Later messages ask anew, of what the hello has kept: here there is nothing kept.
    "client.app.pod_table.schema_of": (HELLO_MESSAGE, MASKED_TRAIN, MASKED_EVALUATE),
    "client.app.main.PodTable.of": (HELLO_MESSAGE, *MASKED_MESSAGES.values()),
    "client.app.main.statistic_sums": (MASKED_STATISTICS,),
    "client.app.main.Encoding.from_json": (MASKED_TRAIN, MASKED_EVALUATE),
    "fl_app.tabular.network.load_state": (MASKED_TRAIN, MASKED_EVALUATE),
    "fl_app.tabular.training.train": (MASKED_TRAIN,),
    "fl_app.tabular.training.evaluate": (MASKED_TRAIN, MASKED_EVALUATE),
    "client.app.ledger.chain": TYPES,
    "client.app.masked_app.records.request_digest": tuple(MASKED_MESSAGES.values()),
    "fl_app.secagg.pod_session.mask": tuple(MASKED_MESSAGES.values()),
}


@pytest.mark.parametrize("where", LOADERS)
def test_an_exception_tells_nothing_wherever_it_comes_from(
    where: str, recorded: Recorded, broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: object, **kwargs: object) -> None:
        raise ValueError(f"{MARKER} in {broken.directory}: {NUMBER}")

    monkeypatch.setattr(where, fails)
    secrets = broken.secrets()
    for message_type in TYPES:
        reply = ask(recorded, broken, message_type, lambda: None)
        assert_clean(reply, secrets)
        assert refused(reply) == (message_type in LOADERS[where]), message_type
        if where != "client.app.ledger.chain":
            entries = Ledger(broken.home / "ledger.db").entries()
            assert not [secret for secret in secrets for entry in entries if secret in repr(entry).encode()]


def test_an_honest_pod_tells_nothing_either(recorded: Recorded, broken: Broken) -> None:
    assert set(recorded.moments) >= set(TYPES)
    secrets = broken.secrets()
    for reply in recorded.replies:
        assert_clean(reply, secrets)
    for message_type in TYPES:
        reply = ask(recorded, broken, message_type, lambda: None)
        assert not refused(reply)
        assert_clean(reply, secrets)


@pytest.mark.parametrize("message_type", ["query.nothing", "train", "evaluate.other"])
def test_a_message_of_no_known_type_tells_nothing(message_type: str, recorded: Recorded, broken: Broken) -> None:
    reply = ask(recorded, broken, message_type, lambda: None)
    assert_clean(reply, broken.secrets())


def test_a_keyring_of_the_test_is_complete(recorded: Recorded) -> None:
    assert {name for name, _ in Keyring.load(known_pods(recorded.directory / "home")).items()} == set(NAMES)
