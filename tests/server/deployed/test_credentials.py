"""A modeller's token: made for a SuperLink with an authority, and for no other."""

from pathlib import Path

import pytest

from fl_app.host.party_keys import modeller_card
from server.deployed.credentials import token_for
from server.superlink.directory import SuperLinkDirectory
from server.superlink.tokens import audience, check_token


@pytest.fixture
def authority(tmp_path: Path, own_home: None) -> Path:
    return SuperLinkDirectory.provision(tmp_path / "superlink", "127.0.0.1:8123").authority


def test_the_superlink_takes_the_modeller_s_token(authority: Path) -> None:
    card = modeller_card("ada")
    token = token_for(authority)
    assert token is not None
    assert check_token(token, audience(authority.read_bytes()), {card.fingerprint: card}.get).name == "ada"


def test_without_a_key_or_without_tls_there_is_no_token(authority: Path) -> None:
    assert token_for(authority) is None
    modeller_card("ada")
    assert token_for(None) is None
