import json
from pathlib import Path

import pytest

from fl_app.cli import main
from fl_app.host.card import Card
from fl_app.host.party_keys import modeller_card

pytestmark = pytest.mark.usefixtures("own_home")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["modeller", *arguments])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return int(left.value.code or 0), out, err


def test_a_modeller_makes_and_hands_out_a_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "keygen", "ada")
    made = Card.from_text(out)
    assert (code, made.role, made.name, made.node_key) == (0, "modeller", "ada", None)
    assert made.fingerprint in err
    assert str(tmp_path / "home/modeller") in err
    assert run(capsys, "card")[1] == out
    assert run(capsys, "keygen", "ada")[1] == out
    assert json.loads(run(capsys, "card", "--json")[1]) == made.document()
    code, out, err = run(capsys, "card", "-o", "ada.card")
    assert (code, out, Card.load(tmp_path / "ada.card")) == (0, "", made)
    assert "wrote ada.card" in err


def test_a_modeller_is_rotated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = modeller_card("ada")
    (tmp_path / "notes").write_text("mine")
    assert run(capsys, "rotate", "-o", "notes")[0] == 2
    assert modeller_card() == before
    code, out, err = run(capsys, "rotate")
    made = Card.from_text(out)
    assert (code, made.predecessor, made) == (0, before.key, modeller_card())
    assert "operator" in err
    assert made.fingerprint in err
    code, out, err = run(capsys, "rotate", "--json", "--home", str(tmp_path / "home"))
    assert (code, err, json.loads(out)["replaces"]) == (0, "", made.fingerprint)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["card"], "fl-app modeller keygen NAME"),
        (["rotate"], "fl-app modeller keygen NAME"),
        (["keygen", "Ada"], "1 to 64 lowercase"),
        (["keygen"], "Missing argument 'NAME'"),
    ],
)
def test_what_is_missing_is_said(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert said in err


def test_a_home_has_one_modeller(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "keygen", "ada")
    code, _, err = run(capsys, "keygen", "bob")
    assert code == 2
    assert "called 'ada'" in err
