"""A modeller's tokens get to where Flower's own commands and executor send them from."""

import inspect
from pathlib import Path
from types import SimpleNamespace

import pytest
from flwr.cli.auth_plugin import get_cli_plugin_class
from flwr.cli.constant import ACCESS_TOKEN_STORE_KEY, AUTHN_TYPE_STORE_KEY, REFRESH_TOKEN_STORE_KEY
from flwr.supercore.credential_store.file_credential_store import FileCredentialStore
from flwr.supercore.superexec import run_superexec
from flwr.supercore.superexec.plugin import AutoExecPlugin

from fl_app.host.party_keys import modeller_card
from server.deployed.credentials import write_credentials
from server.deployed.executor import TokenInterceptor
from server.superlink.directory import SuperLinkDirectory
from server.superlink.tokens import audience, check_token

ADDRESS = "127.0.0.1:8123"


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FL_APP_HOME", str(tmp_path / "home"))
    return SuperLinkDirectory.provision(tmp_path / "superlink", ADDRESS).authority


def configure(home: Path, authority: Path | None) -> None:
    home.mkdir()
    last = "insecure = true" if authority is None else f'root-certificates = "{authority}"'
    (home / "config.toml").write_text(f'[superlink.there]\naddress = "{ADDRESS}"\n{last}\n')


def test_flowers_commands_find_a_token_that_the_superlink_takes(authority: Path, tmp_path: Path) -> None:
    card = modeller_card("ada")
    configure(tmp_path / "flwr", authority)
    write_credentials(tmp_path / "flwr", "there")
    store = FileCredentialStore(tmp_path / "flwr" / "credentials.yaml")
    assert store.file_path.stat().st_mode & 0o077 == 0
    kind = store.get(AUTHN_TYPE_STORE_KEY % ADDRESS)
    assert kind is not None
    assert get_cli_plugin_class(kind.decode()).__name__ == "OidcCliPlugin"
    assert store.get(REFRESH_TOKEN_STORE_KEY % ADDRESS)
    token = store.get(ACCESS_TOKEN_STORE_KEY % ADDRESS)
    assert token is not None
    bearer = check_token(token.decode(), audience(authority.read_bytes()), {card.fingerprint: card}.get)
    assert bearer.name == "ada"


def test_without_a_key_or_without_tls_there_is_no_token(authority: Path, tmp_path: Path) -> None:
    configure(tmp_path / "flwr", authority)
    write_credentials(tmp_path / "flwr", "there")
    assert not (tmp_path / "flwr" / "credentials.yaml").exists()
    modeller_card("ada")
    configure(tmp_path / "plain", None)
    write_credentials(tmp_path / "plain", "there")
    assert not (tmp_path / "plain" / "credentials.yaml").exists()


def test_the_executor_sends_a_token_with_questions_for_work_only(authority: Path) -> None:
    modeller_card("ada")
    sent: dict[str, dict[str, str]] = {}

    def answer(context: SimpleNamespace) -> SimpleNamespace:
        sent[context.rpc_method] = context.request.headers
        return SimpleNamespace(status_code=403 if context.rpc_method == "work" and "refuse" in sent else 200)

    def ask(method: str) -> None:
        request = SimpleNamespace(headers={})
        TokenInterceptor(authority, {"work"}).intercept(SimpleNamespace(rpc_method=method, request=request), answer)

    ask("work")
    ask("other")
    assert sent["work"]["Authorization"].startswith("Bearer ey")
    assert sent["other"] == {}
    sent["refuse"] = {}
    with pytest.raises(PermissionError):
        ask("work")


def test_what_the_executor_replaces_of_flower_is_there() -> None:
    assert "SuperExecAuthHttpInterceptor(" in inspect.getsource(run_superexec.run_superexec)
    assert AutoExecPlugin.supported_task_types
    parameters = inspect.signature(run_superexec.run_superexec).parameters
    assert {"root_certificates_path", "superexec_auth_secret"} <= parameters.keys()
