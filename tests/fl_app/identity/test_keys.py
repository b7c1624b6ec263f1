import base64
import copy
import multiprocessing
import os
import pickle
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from fl_app.errors import UsageError
from fl_app.host.card import Card
from fl_app.host.party_keys import (
    CARD_FILE,
    NODE_KEY_FILE,
    modeller_card,
    modeller_home,
    modeller_identity,
    node_key,
    node_public_line,
    pod_card,
)
from fl_app.host.rotation import rotate_modeller, rotate_pod
from fl_app.identity.key_file import KEY_FILE, Identity
from fl_app.identity.known_pods import Keyring, keygen, known_pods
from fl_app.identity.public_key import public_line
from fl_app.secagg.crypto import fingerprint
from fl_app.system.home import pod_home

KEY_A, KEY_B = bytes(range(32)), bytes(range(32, 64))


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _public_key_of(directory: Path) -> bytes:
    return Identity.load_or_create(directory).public_bytes


def _add(task: tuple[Path, str, bytes]) -> None:
    path, name, key = task
    Keyring.load(path).add(name, key)


def _node_line_of(home: Path) -> str:
    return node_public_line(node_key("a", home))


def _modeller_of(task: tuple[Path, str]) -> str:
    home, name = task
    try:
        return modeller_card(name, home).to_text()
    except UsageError as error:
        return str(error)


def test_a_created_key_loads_and_signs(tmp_path: Path) -> None:
    made = Identity.create(tmp_path / "pods/a")
    loaded = Identity.load(tmp_path / "pods/a")
    assert made.public_bytes == loaded.public_bytes
    assert len(made.public_bytes) == 32
    Ed25519PublicKey.from_public_bytes(made.public_bytes).verify(loaded.sign(b"hello"), b"hello")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_key_is_its_owners_alone(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        Identity.create(tmp_path / "a")
    finally:
        os.umask(before)
    assert _mode(tmp_path / "a") == 0o700
    assert _mode(tmp_path / "a" / KEY_FILE) == 0o600
    assert [path.name for path in (tmp_path / "a").iterdir()] == [KEY_FILE]


def test_the_key_file_is_never_open_to_others_not_even_while_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[int, int]] = []
    real_open = os.open

    def watched(path: str | bytes, flags: int, mode: int = 0o777, **more: int | None) -> int:
        opened.append((flags, mode))
        return real_open(path, flags, mode, **more)

    monkeypatch.setattr(os, "open", watched)
    Identity.create(tmp_path)
    monkeypatch.undo()
    written = [(flags, mode) for flags, mode in opened if flags & os.O_CREAT]
    assert written
    assert all(flags & os.O_EXCL and mode == 0o600 for flags, mode in written)


def test_an_open_directory_is_closed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o755)
    Identity.create(tmp_path / "a")
    assert _mode(tmp_path / "a") == 0o700


def test_create_does_not_overwrite(tmp_path: Path) -> None:
    made = Identity.create(tmp_path)
    with pytest.raises(UsageError, match="not overwritten"):
        Identity.create(tmp_path)
    assert Identity.load_or_create(tmp_path).public_bytes == made.public_bytes
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o777])
def test_a_key_that_others_may_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    Identity.create(tmp_path)
    (tmp_path / KEY_FILE).chmod(mode)
    with pytest.raises(UsageError, match=rf"mode {mode:04o}, expected 0600.*chmod 600"):
        Identity.load_or_create(tmp_path)


def test_a_missing_key_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no identity key; `fl-app pod keygen`"):
        Identity.load(tmp_path)


def test_a_file_in_the_place_of_the_directory_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        Identity.create(tmp_path / "a")
    with pytest.raises(UsageError, match="cannot be read"):
        Identity.load_or_create(tmp_path / "a")


def _pem(key: object, password: bytes | None = None) -> bytes:
    sealed = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealed)  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a key",
        _pem(Ed25519PrivateKey.generate())[:-40],
        _pem(generate_private_key(SECP256R1())),
        _pem(Ed25519PrivateKey.generate(), b"password"),
    ],
    ids=["empty", "text", "cut off", "another kind", "encrypted"],
)
def test_what_is_not_an_identity_key_is_refused_without_being_shown(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / KEY_FILE
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(UsageError, match="not an identity key") as caught:
        Identity.load(tmp_path)
    assert str(caught.value).startswith(str(path))
    assert caught.value.__cause__ is None


def test_nothing_shows_the_secret(tmp_path: Path) -> None:
    identity = Identity.create(tmp_path)
    assert repr(identity) == f"Identity({identity.fingerprint})" == str(identity)
    with pytest.raises(TypeError):
        pickle.dumps(identity)
    assert copy.copy(identity).public_bytes == identity.public_bytes


def test_the_key_file_is_pkcs8_that_other_tools_read(tmp_path: Path) -> None:
    identity = Identity.create(tmp_path)
    text = (tmp_path / KEY_FILE).read_bytes()
    assert text.startswith(b"-----BEGIN PRIVATE KEY-----")
    key = serialization.load_pem_private_key(text, None)
    assert isinstance(key, Ed25519PrivateKey)
    assert key.public_key().public_bytes_raw() == identity.public_bytes


def test_the_fingerprint_of_a_known_key() -> None:
    assert fingerprint(KEY_A) == "SHA256:ZkAslGjFiUHdGf/WUL8rQvkib4PTvQatUV0OUQSncCA"


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
def test_the_fingerprint_is_the_one_ssh_shows(tmp_path: Path) -> None:
    identity = Identity.create(tmp_path)
    public = Ed25519PublicKey.from_public_bytes(identity.public_bytes)
    line = public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    (tmp_path / "a.pub").write_bytes(line)
    shown = subprocess.run(["ssh-keygen", "-lf", tmp_path / "a.pub"], capture_output=True, text=True, check=True)
    assert identity.fingerprint in shown.stdout.split()


def test_processes_that_create_one_identity_at_once_get_the_same_key(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        for number in range(10):
            found = pool.map(_public_key_of, [tmp_path / str(number)] * 8, chunksize=1)
            assert len(set(found)) == 1
            assert [path.name for path in (tmp_path / str(number)).iterdir()] == [KEY_FILE]


def test_processes_that_add_to_one_keyring_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "known_pods"
    tasks = [(path, f"pod-{number}", bytes([number]) * 32) for number in range(24)]
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        pool.map(_add, tasks * 2, chunksize=1)
    assert dict(Keyring.load(path).items()) == {name: key for _, name, key in tasks}


def test_a_keyring_keeps_comments_and_order(tmp_path: Path) -> None:
    path = tmp_path / "known_pods"
    first = f"# told by telephone\n\n{public_line('b', KEY_B)}  # ward 3\r\n   # no newline at the end"
    path.write_text(first, newline="")
    ring = Keyring.load(path)
    ring.add("a", KEY_A)
    assert path.read_bytes().decode() == f"{first}\n{public_line('a', KEY_A)}\n"
    assert list(ring.items()) == list(Keyring.load(path).items()) == [("b", KEY_B), ("a", KEY_A)]
    assert (ring.get("a"), ring.get("c")) == (KEY_A, None)


def test_adding_again_changes_nothing_and_another_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "home/known_pods"
    ring = Keyring.load(path)
    assert list(ring.items()) == []
    ring.add("a", KEY_A)
    before = path.read_bytes()
    Keyring.load(path).add("a", KEY_A)
    with pytest.raises(UsageError, match="approve a KEYFILE --replace") as caught:
        ring.add("a", KEY_B)
    assert fingerprint(KEY_A) in str(caught.value)
    assert fingerprint(KEY_B) in str(caught.value)
    assert path.read_bytes() == before
    assert ring.get("a") == KEY_A


def test_what_another_process_added_counts(tmp_path: Path) -> None:
    path = tmp_path / "known_pods"
    early = Keyring.load(path)
    Keyring.load(path).add("a", KEY_A)
    with pytest.raises(UsageError, match="known by the key"):
        early.add("a", KEY_B)
    early.add("b", KEY_B)
    assert Keyring.load(path).get("a") == KEY_A


@pytest.mark.parametrize(("name", "key"), [("A", KEY_A), ("../a", KEY_A), ("a b", KEY_A), ("a", KEY_A[:31])])
def test_malformed_additions_are_refused(tmp_path: Path, name: str, key: bytes) -> None:
    with pytest.raises(UsageError):
        Keyring.load(tmp_path / "known_pods").add(name, key)
    assert list(tmp_path.iterdir()) == []


GOOD = base64.b64encode(KEY_A).decode()


@pytest.mark.parametrize(
    "line",
    [
        "a",
        f"a {GOOD}",
        f"a ed25519 {GOOD} more",
        f"a rsa {GOOD}",
        f"A ed25519 {GOOD}",
        f".. ed25519 {GOOD}",
        f"a ed25519 {GOOD[:-4]}",
        f"a ed25519 {GOOD.rstrip('=')}",
        "a ed25519 é",
        f"c ed25519 {base64.b64encode(KEY_B).decode()}",
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "known_pods"
    path.write_text(f"# known\n{public_line('c', KEY_A)}\n{line}\n", "utf-8")
    with pytest.raises(UsageError, match=r", line 3: ") as caught:
        Keyring.load(path)
    assert str(caught.value).startswith(str(path))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_keyring_or_a_usage_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any_known_pods"
    path.write_bytes(content)
    try:
        keys = dict(Keyring.load(path).items())
    except UsageError:
        return
    assert all(len(key) == 32 for key in keys.values())


def test_a_replaced_key_stays_in_its_line_and_a_removed_one_takes_its_line_along(tmp_path: Path) -> None:
    path = tmp_path / "known_pods"
    line_a, line_b = public_line("a", KEY_A), public_line("b", KEY_B)
    path.write_text(f"# told\n{line_a}  # ward 3\r\n{line_b}\n# a ed25519\n{line_a}", newline="")
    ring = Keyring.load(path)
    ring.replace("a", KEY_B)
    new = public_line("a", KEY_B)
    assert path.read_bytes().decode() == f"# told\n{new}  # ward 3\r\n{line_b}\n# a ed25519\n{new}"
    assert dict(ring.items()) == dict(Keyring.load(path).items()) == {"a": KEY_B, "b": KEY_B}
    assert ring.remove("a") == KEY_B
    assert path.read_bytes().decode() == f"# told\n{line_b}\n# a ed25519"
    assert ring.get("a") is None
    ring.replace("c", KEY_A)
    assert dict(Keyring.load(path).items()) == {"b": KEY_B, "c": KEY_A}


def test_one_who_is_not_known_cannot_be_removed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'a' is not known there; `fl-app pod known`"):
        Keyring.load(tmp_path / "known_pods").remove("a")
    with pytest.raises(UsageError, match="1 to 64"):
        Keyring.load(tmp_path / "known_pods").replace("A", KEY_A)
    assert list(tmp_path.iterdir()) == []


def test_what_another_process_wrote_is_kept_by_replacing_and_removing(tmp_path: Path) -> None:
    path = tmp_path / "known_pods"
    Keyring.load(path).add("a", KEY_A)
    early, earlier = Keyring.load(path), Keyring.load(path)
    Keyring.load(path).add("b", KEY_B)
    early.replace("a", KEY_B)
    assert earlier.remove("a") == KEY_B
    assert dict(Keyring.load(path).items()) == {"b": KEY_B}


def test_keygen_makes_the_key_once_and_knows_it(tmp_path: Path) -> None:
    identity = keygen("hospital-a", tmp_path)
    assert keygen("hospital-a", tmp_path).public_bytes == identity.public_bytes
    assert Identity.load(pod_home("hospital-a", tmp_path)).public_bytes == identity.public_bytes
    assert Keyring.load(known_pods(tmp_path)).get("hospital-a") == identity.public_bytes


def test_keygen_uses_the_owners_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FL_APP_HOME", str(tmp_path))
    keygen("hospital-a")
    assert (tmp_path / "pods/hospital-a" / KEY_FILE).exists()
    assert known_pods() == tmp_path / "known_pods"


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_the_node_key_is_made_once_and_is_its_owners_alone(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        path = node_key("a", tmp_path)
    finally:
        os.umask(before)
    content = path.read_bytes()
    assert path == tmp_path / "pods/a" / NODE_KEY_FILE
    assert node_key("a", tmp_path).read_bytes() == content
    assert _mode(path) == 0o600
    assert _mode(path.parent) == 0o700
    assert [file.name for file in path.parent.iterdir()] == [NODE_KEY_FILE]


def test_the_node_key_is_of_the_kind_that_flower_takes(tmp_path: Path) -> None:
    from argparse import Namespace

    from flwr.supernode.cli.flower_supernode import _try_setup_client_authentication as setup

    path = node_key("a", tmp_path)
    taken = setup(Namespace(auth_supernode_private_key=str(path), auth_supernode_public_key=None))
    assert taken is not None
    written = taken[1].public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    assert written.decode() == node_public_line(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_node_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    node_key("a", tmp_path).chmod(mode)
    with pytest.raises(UsageError, match=rf"node key \(mode {mode:04o}, expected 0600\).*chmod 600"):
        node_key("a", tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"not a key", _pem(Ed25519PrivateKey.generate()), _pem(generate_private_key(SECP256R1()))],
    ids=["empty", "text", "another kind", "another curve"],
)
def test_what_is_not_a_node_key_is_refused_without_being_shown(tmp_path: Path, content: bytes) -> None:
    path = node_key("a", tmp_path)
    path.write_bytes(content)
    with pytest.raises(UsageError, match="not a node key") as caught:
        node_key("a", tmp_path)
    assert str(caught.value).startswith(str(path))
    assert caught.value.__cause__ is None


def test_a_node_key_of_another_curve_or_with_a_password_is_refused(tmp_path: Path) -> None:
    path = node_key("a", tmp_path)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    path.write_bytes(generate_private_key(SECP256R1()).private_bytes(*form))
    with pytest.raises(UsageError, match="not a node key"):
        node_public_line(path)


def test_processes_that_make_one_node_key_at_once_get_the_same(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        for number in range(3):
            found = pool.map(_node_line_of, [tmp_path / str(number)] * 8, chunksize=1)
            assert len(set(found)) == 1
            assert [path.name for path in (tmp_path / str(number) / "pods/a").iterdir()] == [NODE_KEY_FILE]


def test_a_pods_card_is_the_same_each_time_and_holds_its_keys(tmp_path: Path) -> None:
    card = pod_card("a", tmp_path)
    assert pod_card("a", tmp_path) == card == Card.from_text(card.to_text())
    assert card.key == keygen("a", tmp_path).public_bytes
    assert card.node_key == node_public_line(tmp_path / "pods/a" / NODE_KEY_FILE)
    assert (card.role, card.name, card.predecessor) == ("pod", "a", None)


def test_a_rotated_pod_has_new_keys_and_a_card_that_the_old_one_signed(tmp_path: Path) -> None:
    home = tmp_path / "pods/a"
    before, old_files = pod_card("a", tmp_path), [(home / file).read_bytes() for file in (KEY_FILE, NODE_KEY_FILE)]
    card = rotate_pod("a", tmp_path)
    assert card.predecessor == before.key
    assert card.key != before.key
    assert card.node_key not in (None, before.node_key)
    assert pod_card("a", tmp_path) == card == Card.from_text(card.to_text())
    assert keygen("a", tmp_path).public_bytes == card.key == Keyring.load(known_pods(tmp_path)).get("a")
    kept = [next(home.glob(f"{file}.replaced-*")) for file in (KEY_FILE, NODE_KEY_FILE)]
    assert [path.read_bytes() for path in kept] == old_files
    assert {_mode(path) for path in (*kept, home / KEY_FILE, home / NODE_KEY_FILE)} == {0o600}
    assert rotate_pod("a", tmp_path).predecessor == card.key
    assert len(list(home.glob("*.replaced-*"))) == 4


def test_only_a_pod_with_a_key_can_be_rotated(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no identity key; `fl-app pod keygen`"):
        rotate_pod("a", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failing", [1, 2])
def test_an_interrupted_rotation_leaves_a_pod_who_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    before, real, calls = pod_card("a", tmp_path), Path.replace, []

    def replace(path: Path, target: Path) -> Path:
        if path.parent.name == ".rotation":
            calls.append(path)
            if len(calls) == failing:
                raise OSError(5, "interrupted")
        return real(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(UsageError, match="cannot be replaced: interrupted"):
        rotate_pod("a", tmp_path)
    monkeypatch.undo()
    left = pod_card("a", tmp_path)
    assert (left.key, left.predecessor) == (before.key, None)
    assert rotate_pod("a", tmp_path).predecessor == before.key
    assert not (tmp_path / "pods/a/.rotation").exists()


def test_a_card_that_is_no_longer_of_these_keys_does_not_count(tmp_path: Path) -> None:
    pod_card("a", tmp_path)
    card = rotate_pod("a", tmp_path)
    (tmp_path / "pods/a" / NODE_KEY_FILE).unlink()
    after = pod_card("a", tmp_path)
    assert (after.key, after.predecessor) == (card.key, None)
    assert after.node_key != card.node_key
    assert (tmp_path / "pods/a" / CARD_FILE).exists()


def test_the_modeller_has_one_name_and_one_key(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`fl-app modeller keygen NAME` makes one"):
        modeller_card(None, tmp_path)
    card = modeller_card("ada", tmp_path)
    assert (card.role, card.name, card.node_key, card.predecessor) == ("modeller", "ada", None, None)
    assert modeller_card(None, tmp_path) == modeller_card("ada", tmp_path) == card
    assert modeller_identity(tmp_path).public_bytes == card.key
    with pytest.raises(UsageError, match="called 'ada', not 'bob'"):
        modeller_card("bob", tmp_path)
    with pytest.raises(UsageError, match="1 to 64"):
        modeller_card("../ada", tmp_path)
    assert modeller_home(tmp_path) == tmp_path / "modeller"
    assert _mode(tmp_path / "modeller") == 0o700
    assert _mode(tmp_path / "modeller" / KEY_FILE) == 0o600
    assert not (tmp_path / "known_pods").exists()


def test_processes_that_make_the_modellers_key_at_once_agree(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        for number in range(3):
            home = tmp_path / str(number)
            found = set(pool.map(_modeller_of, [(home, "ada"), (home, "bob")] * 4, chunksize=1))
            card = modeller_card(None, home)
            assert card.to_text() in found
            assert len(found) == 2
            assert any(f"called '{card.name}'" in text for text in found)


def test_a_rotated_modeller(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no modeller has a key here"):
        rotate_modeller(tmp_path)
    before = modeller_card("ada", tmp_path)
    card = rotate_modeller(tmp_path)
    assert card.predecessor == before.key
    assert modeller_card(None, tmp_path) == modeller_card("ada", tmp_path) == card
    assert modeller_identity(tmp_path).public_bytes == card.key


@pytest.mark.parametrize("content", [b"", b"ADA\n", b"\xff"])
def test_a_damaged_name_of_the_modellers_is_named(tmp_path: Path, content: bytes) -> None:
    modeller_card("ada", tmp_path)
    (tmp_path / "modeller/name").write_bytes(content)
    with pytest.raises(UsageError, match="modeller/name: "):
        modeller_card(None, tmp_path)
