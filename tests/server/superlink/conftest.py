"""Flower's own application behind the gate."""

import warnings
from pathlib import Path
from typing import Any

import pytest
from flwr.common.constant import NOOP_ACCOUNT_NAME, NOOP_FLWR_AID
from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.superlink import config_loader, extensions
from flwr.superlink.main import create_app
from starlette.middleware import Middleware

from fl_app.host.party_keys import modeller_card, pod_card
from server.superlink.bells import Bells
from server.superlink.gate import Gate
from server.superlink.registry import Registry
from server.superlink.start import apply_register
from tests.server.superlink.parties import AUDIENCE


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A register of one pod and one modeller, with their keys in homes next to it."""
    made = Registry(tmp_path)
    made.add([pod_card("north", tmp_path / "north"), modeller_card("ada", tmp_path / "ada")])
    return made


@pytest.fixture
def bells() -> Bells:
    """Those of the requests that the gate holds."""
    return Bells()


@pytest.fixture
def database() -> str:
    """Where Flower's state is: in memory, unless a module's own fixture says otherwise."""
    return FLWR_IN_MEMORY_DB_NAME


@pytest.fixture
def superlink(registry: Registry, bells: Bells, database: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Flower's application, whose outermost middleware is the gate."""

    async def changed(app: Any) -> None:
        apply_register(app.state.linkstate_factory.state(), registry, NOOP_FLWR_AID, NOOP_ACCOUNT_NAME)

    gate = Middleware(Gate, registry=registry, audience=AUDIENCE, changed=changed, bells=bells)
    monkeypatch.setattr(extensions, "get_middleware", lambda: (gate,))
    monkeypatch.setenv("FLWR_DATABASE", database)
    monkeypatch.setattr(config_loader, "ObjectStoreFactory", lambda _database: ObjectStoreFactory())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Flower's migrations
        app = create_app()
    app.state.enable_supernode_auth = True
    return app
