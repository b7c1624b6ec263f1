"""Runs of every kind, carried out once for the module, and a hub over them."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fl_app.config import RunConfig
from fl_app.federation.kinds import SimulatedFederation
from fl_app.hub.app import Hub
from fl_app.hub.role import Role
from fl_app.privacy.settings import Privacy
from fl_app.tabular.settings import DataStructure
from server.app.run_directory import RunDirectory
from server.hub.modeller import modeller_role
from server.modeller.description import described, description_config
from server.modeller.launch import FitFailed, fit
from tests.support.small_federation import PODS, isolate, small_federation, write_pod

ORIGIN = "http://127.0.0.1:8050"
HTML = {"accept": "text/html"}


class Visitor:
    """Somebody who has logged in to a hub."""

    def __init__(self, *roles: Role) -> None:
        self.hub = Hub(roles, [ORIGIN], "secret")
        session = self.hub.sessions.open(self.hub.sessions.new_code())
        assert session is not None
        self._session = session

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.hub.app)
            headers = {**HTML, "cookie": f"fl-app-hub-8050={self._session}", "origin": ORIGIN}
            async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers) as client:
                return await client.request(method, path, **more)

        return asyncio.run(send())

    def get(self, path: str) -> httpx.Response:
        return self.ask("GET", path)

    def page(self, path: str) -> str:
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def press(self, path: str) -> httpx.Response:
        return self.ask("POST", path, data={"form": self.hub.sessions.form_token(self._session)})


def settings(target: str = "outcome", **more: Any) -> RunConfig:
    given = {"rounds": 2, "local_steps": 1, "architecture": "linear", **more}
    return RunConfig(pods=PODS, datastructure=DataStructure(target=target), **given)


class Work:
    """A directory with a federation, whose runs are named by their kind."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.runs = directory, directory / "runs"
        self.federation: SimulatedFederation = small_federation(directory)

    def visitor(self) -> Visitor:
        return Visitor(modeller_role(self.federation, self.runs))

    def take(self, run: RunDirectory, name: str) -> None:
        run.path.rename(self.runs / name)


@pytest.fixture(scope="package")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    directory = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, directory)
        made = Work(directory)
        made.take(fit(settings(), made.federation, runs=made.runs), "completed")
        made.take(fit(settings(seed=5), made.federation, runs=made.runs), "second")
        made.take(fit(settings("age"), made.federation, runs=made.runs), "numbers")
        config = settings(privacy=Privacy(epsilon=8.0), rounds=3)
        config = RunConfig(**{**config.model_dump(), "local_steps": None})
        made.take(fit(config, made.federation, runs=made.runs), "private")
        made.take(described(description_config(PODS, target="outcome"), made.federation, made.runs), "described")
        write_pod(directory, "south", ("south",))
        with pytest.raises(FitFailed) as failed:
            fit(settings(), made.federation, runs=made.runs)
        made.take(failed.value.run, "refused")
        write_pod(directory, "south")
        yield made
