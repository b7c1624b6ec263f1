import json
import stat
from pathlib import Path

import pytest

from client.site.pod_approval import enter
from fl_app.cli import main
from fl_app.errors import UsageError
from fl_app.host.card import Card
from fl_app.host.party_keys import pod_card
from fl_app.host.rotation import rotate_pod
from fl_app.identity.key_file import KEY_FILE, Identity
from fl_app.identity.known_pods import Keyring, known_pods
from fl_app.identity.public_key import public_line
from fl_app.pod.pod_file import load_pod
from fl_app.secagg.crypto import fingerprint

pytestmark = pytest.mark.usefixtures("own_home")

HEAD = "name: hospital-a\ndatasource: CSVSource\ndatasource_args: {path: a.csv}\n"

PYTHON = (
    'from fl_app.pod.definition import CSVSource, Pod\npod = Pod(name="hospital-a", datasource=CSVSource("a.csv"), '
)
PYTHON += "approved_pods=['hospital-c'])\n"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return int(left.value.code or 0), out, err


def pinned(name: str = "hospital-b") -> bytes | None:
    return Keyring.load(known_pods()).get(name)


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """The card of hospital-b, whose owner has a home of his own."""
    path = tmp_path / "hospital-b.card"
    pod_card("hospital-b", tmp_path / "b").write(path)
    return path


def test_keygen_prints_the_card_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "pod", "keygen", "hospital-a")
    made = Card.from_text(out)
    assert (code, made) == (0, pod_card("hospital-a"))
    assert made.node_key is not None
    assert out.startswith(f"{public_line('hospital-a', made.key)}\n")
    assert f"fingerprint {made.fingerprint}\n" in err
    assert str(tmp_path / "home/pods/hospital-a") in err
    assert run(capsys, "pod", "keygen", "hospital-a")[1] == out


def test_keygen_writes_the_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "pod", "keygen", "hospital-a", "-o", "a.card")
    assert (code, out) == (0, "")
    assert "wrote a.card" in err
    assert Card.load(tmp_path / "a.card").name == "hospital-a"
    assert run(capsys, "pod", "keygen", "hospital-a", "-o", "a.card")[0] == 0


def test_the_card_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "pod", "keygen", "hospital-a", "--json", "--home", "elsewhere")
    made = pod_card("hospital-a", tmp_path / "elsewhere")
    assert (code, err, json.loads(out)) == (0, "", made.document())
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("command", ["keygen", "rotate"])
def test_a_file_that_is_no_card_is_not_overwritten_and_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (tmp_path / "a.yaml").write_text(HEAD)
    before = pod_card("hospital-c")
    code, out, err = run(capsys, "pod", command, "hospital-c", "-o", "a.yaml")
    assert (code, out) == (2, "")
    assert "not a card, and it is not overwritten" in err
    assert (tmp_path / "a.yaml").read_text() == HEAD
    assert pod_card("hospital-c") == before


def test_a_card_is_approved(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sent = Card.load(card)
    code, out, err = run(capsys, "pod", "approve", "hospital-b", card)
    assert (code, err) == (0, "")
    assert f"hospital-b is known by {sent.fingerprint}\n" in out
    assert "approved_pods" in out
    assert pinned() == sent.key
    code, out, _ = run(capsys, "pod", "approve", "hospital-b", card, "--json")
    assert (code, json.loads(out)) == (
        0,
        {
            "name": "hospital-b",
            "fingerprint": sent.fingerprint,
            "outcome": "known",
            "before": sent.fingerprint,
            "entered": False,
        },
    )


def test_a_bare_line_is_approved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = Identity.create(tmp_path / "b").public_bytes
    (tmp_path / "b.pub").write_text(f"# from the owner\n{public_line('hospital-b', key)}\n")
    assert run(capsys, "pod", "approve", "hospital-b", "b.pub")[0] == 0
    assert pinned() == key


def test_a_card_that_was_changed_or_is_not_the_pods_is_refused(
    tmp_path: Path, card: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = card.read_text()
    other = Identity.create(tmp_path / "x").public_bytes
    bad = {
        "changed": (
            text.replace(Card.from_text(text).to_text().split()[2], public_line("x", other).split()[2]),
            "sign",
        ),
        "cut": ("\n".join(text.splitlines()[:-1]), "no line `name signature"),
        "nothing": ("", "holds no line `hospital-b ed25519 BASE64`"),
        "another": (pod_card("hospital-c", tmp_path / "c").to_text(), "the card of 'hospital-c', not of 'hospital-b'"),
        "modeller": (Card.issue("modeller", "hospital-b", Identity.load(tmp_path / "x")).to_text(), "approves pods"),
    }
    for name, (content, said) in bad.items():
        (tmp_path / name).write_text(content)
        code, out, err = run(capsys, "pod", "approve", "hospital-b", name)
        assert (code, out) == (2, "")
        assert f"{name}: " in err or name == "changed"
        assert said in err
        assert pinned() is None


def test_a_rotation_is_taken_and_said(tmp_path: Path, card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = Card.load(card)
    run(capsys, "pod", "approve", "hospital-b", card)
    new = rotate_pod("hospital-b", tmp_path / "b")
    new.write(card)
    code, out, _ = run(capsys, "pod", "approve", "hospital-b", card)
    assert code == 0
    assert "rotated its key, and the old one has signed it" in out
    assert new.fingerprint in out
    assert old.fingerprint in out
    assert pinned() == new.key
    old.write(card)
    code, _, err = run(capsys, "pod", "approve", "hospital-b", card)
    assert code == 2
    assert "is not signed by it" in err
    assert pinned() == new.key


def test_a_key_that_does_not_follow_needs_the_owners_word(
    tmp_path: Path, card: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = Card.load(card)
    run(capsys, "pod", "approve", "hospital-b", card)
    (tmp_path / "a.yaml").write_text(HEAD)
    pod_card("hospital-b", tmp_path / "fresh")
    strange = rotate_pod("hospital-b", tmp_path / "fresh")  # it replaces some key, but not the one that is known
    strange.write(card)
    code, out, err = run(capsys, "pod", "approve", "hospital-b", card, "--pod", "a.yaml")
    assert (code, out) == (2, "")
    assert "telephone" in err
    assert "--replace" in err
    assert old.fingerprint in err
    assert strange.fingerprint in err
    assert pinned() == old.key
    assert (tmp_path / "a.yaml").read_text() == HEAD
    code, out, _ = run(capsys, "pod", "approve", "hospital-b", card, "--replace", "--json")
    assert (code, json.loads(out)["outcome"], json.loads(out)["before"]) == (0, "replaced", old.fingerprint)
    assert pinned() == strange.key


def test_a_pod_is_revoked(tmp_path: Path, card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known_pods().parent.mkdir()
    known_pods().write_text("# told by telephone\n")
    run(capsys, "pod", "approve", "hospital-b", card)
    code, out, _ = run(capsys, "pod", "revoke", "hospital-b")
    assert code == 0
    assert "no longer known" in out
    assert known_pods().read_text() == "# told by telephone\n"
    code, _, err = run(capsys, "pod", "revoke", "hospital-b")
    assert code == 2
    assert "not known there" in err
    run(capsys, "pod", "approve", "hospital-b", card)
    code, out, _ = run(capsys, "pod", "revoke", "hospital-b", "--json")
    assert json.loads(out) == {"name": "hospital-b", "fingerprint": Card.load(card).fingerprint}


def test_a_pod_of_ones_own_is_not_revoked(capsys: pytest.CaptureFixture[str]) -> None:
    made = pod_card("hospital-a")
    code, _, err = run(capsys, "pod", "revoke", "hospital-a")
    assert code == 2
    assert "pod rotate hospital-a" in err
    assert pinned("hospital-a") == made.key


def test_a_pod_is_rotated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = pod_card("hospital-a")
    code, out, err = run(capsys, "pod", "rotate", "hospital-a")
    made = Card.from_text(out)
    assert (code, made.predecessor, made) == (0, before.key, pod_card("hospital-a"))
    assert "pod approve hospital-a" in err
    home = tmp_path / "home/pods/hospital-a"
    assert {stat.S_IMODE(path.stat().st_mode) for path in home.glob("*.key*")} == {0o600}
    assert len(list(home.glob("*.replaced-*"))) == 2
    code, out, err = run(capsys, "pod", "rotate", "hospital-a", "--json", "-o", "a.card")
    assert (code, err) == (0, "")
    assert json.loads(out) == Card.load(tmp_path / "a.card").document()
    assert json.loads(out)["replaces"] == made.fingerprint
    code, _, err = run(capsys, "pod", "rotate", "nobody")
    assert code == 2
    assert "no identity key" in err


def test_known_lists_who_is(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "pod", "approve", "hospital-b", card)
    _, out, _ = run(capsys, "pod", "known")
    assert out == f"hospital-b  {Card.load(card).fingerprint}\n"
    assert json.loads(run(capsys, "pod", "known", "--json")[1])[0]["name"] == "hospital-b"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "approved_pods: [NAME]\n"),
        ("approved_pods: []\n", "approved_pods: [NAME]\n"),
        ("approved_pods: [ ] # none\n# end\n", "approved_pods: [NAME ] # none\n# end\n"),
        ("approved_pods: [b]", "approved_pods: [b, NAME]"),
        ("approved_pods: [b, 'c' ,]  # ward\n", "approved_pods: [b, 'c', NAME ,]  # ward\n"),
        ("approved_pods: [\n  b, # west\n  c # east\n]\n", "approved_pods: [\n  b, # west\n  c, NAME # east\n]\n"),
        ("other_pods: [b]\n", "other_pods: [b, NAME]\n"),
        ("approved_pods:\n- b\n", "approved_pods:\n- b\n- NAME\n"),
        (
            "approved_pods:  # by telephone\n  - b  # west\n  # - c\ndata_config: {}\n",
            "approved_pods:  # by telephone\n  - b  # west\n  - NAME\n  # - c\ndata_config: {}\n",
        ),
        ("approved_pods:\n  -   b\n  -   'c'", "approved_pods:\n  -   b\n  -   'c'\n  -   NAME\n"),
        ("approved_pods:\r\n  - b\r\n# end\r\n", "approved_pods:\r\n  - b\r\n  - NAME\r\n# end\r\n"),
        ("\n# a comment without a newline", "\n# a comment without a newline\napproved_pods: [NAME]\n"),
    ],
)
@pytest.mark.parametrize("start", ["", "\ufeff", "# é 漢\n"])
def test_a_name_is_entered_and_every_other_byte_stays(tmp_path: Path, before: str, after: str, start: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes((start + HEAD + before).encode())
    path.chmod(0o640)
    old = load_pod(path)
    assert enter(path, "hospital-b")
    assert path.read_bytes().decode() == start + HEAD + after.replace("NAME", "hospital-b")
    assert load_pod(path) == old.model_copy(update={"approved_pods": (*old.approved_pods, "hospital-b")})
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    written = path.read_bytes()
    assert not enter(path, "hospital-b")
    assert path.read_bytes() == written
    assert [file.name for file in tmp_path.iterdir()] == ["a.yaml"]


@pytest.mark.parametrize("name", ["null", "2026-11-23", "007", "1.5", "on", "12:30:00"[:2], "0x1f", "1_0"])
def test_a_name_that_yaml_takes_for_something_else_is_quoted(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(HEAD)
    assert enter(path, name)
    assert load_pod(path).approved_pods == (name,)
    assert f'["{name}"]' in path.read_text()


ODD = [
    "{name: hospital-a, datasource: CSVSource, datasource_args: {path: a.csv}}\n",
    HEAD + "...\n",
    HEAD + "approved_pods:\n  -\n    b\n",
    HEAD + "approved_pods:\n- b\n- >-\n  c\ndata_config: {}\n",
    "approved_pods: &p [b]\ndata_config: {optional: *p}\n" + HEAD,
    "data_config: {optional: &p [b]}\napproved_pods: *p\n" + HEAD,
]


@pytest.mark.parametrize("content", [*(text.encode() for text in ODD), HEAD.encode("utf-16")])
def test_a_file_written_in_an_odd_way_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    load_pod(path)
    with pytest.raises(UsageError, match="add 'hospital-b' to it by hand"):
        enter(path, "hospital-b")
    assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["a.yaml"]


def test_a_file_that_cannot_be_changed_leaves_the_key_unpinned(
    tmp_path: Path, card: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "a.py": (PYTHON, "written in Python"),
        "a.yaml": ("name: hospital-a\n", "datasource"),
        "b.yaml": (HEAD.replace("hospital-a", "hospital-b"), "is this pod itself"),
        "a.txt": (HEAD, "a pod file ends in"),
    }
    for name, (content, said) in files.items():
        (tmp_path / name).write_text(content)
        code, _, err = run(capsys, "pod", "approve", "hospital-b", card, "--pod", name)
        assert code == 2
        assert said in err
        assert (tmp_path / name).read_text() == content
        assert pinned() is None


def test_a_python_pod_that_has_the_name_already_is_as_good(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(PYTHON)
    assert not enter(tmp_path / "a.py", "hospital-c")
    assert (tmp_path / "a.py").read_text() == PYTHON


def test_a_pod_file_that_cannot_be_written_is_named(
    tmp_path: Path, card: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(HEAD)

    def full(path: Path, content: bytes, mode: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("client.site.yaml_edit.replace_file", full)
    code, _, err = run(capsys, "pod", "approve", "hospital-b", card, "--pod", "a.yaml")
    assert (code, err) == (2, "fl-app: a.yaml: cannot be changed: No space left on device\n")
    assert pinned() is None
    assert (tmp_path / "a.yaml").read_text() == HEAD


def test_approving_with_the_pod_file_does_both(tmp_path: Path, card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(f"# mine\n{HEAD}approved_pods: []  # so far\n")
    code, out, _ = run(capsys, "pod", "approve", "hospital-b", card, "--pod", "a.yaml")
    assert code == 0
    assert "a.yaml: hospital-b entered in approved_pods" in out
    assert (tmp_path / "a.yaml").read_text() == f"# mine\n{HEAD}approved_pods: [hospital-b]  # so far\n"
    assert pinned() == Card.load(card).key
    code, out, _ = run(capsys, "pod", "approve", "hospital-b", card, "--pod", "a.yaml")
    assert (code, "a.yaml: hospital-b was in approved_pods" in out) == (0, True)


def test_no_command_shows_a_private_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = [
        run(capsys, "pod", command, "hospital-a", *more)
        for command in ("keygen", "rotate")
        for more in ((), ("--json",))
    ]
    text = "".join(out + err for _, out, err in shown)
    home = tmp_path / "home/pods/hospital-a"
    assert fingerprint(Identity.load(home).public_bytes) in text
    for path in [*home.glob("*.key"), *home.glob("*.replaced-*")]:
        assert (home / KEY_FILE).exists()
        lines = [line for line in path.read_text().splitlines() if "PRIVATE KEY" not in line]
        assert not any(line in text for line in lines)
