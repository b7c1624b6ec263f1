"""How long the hub takes for a page, with many pods registered and many runs on disk.

A browser's request goes through the hub as it is served, guard and all, but over no network. The operator's pages are
asked of a SuperLink's directory whose socket answers as a SuperLink's would.
"""

import asyncio
import json
import shutil
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from fl_app.config import RunConfig
from fl_app.federation.kinds import find_federation
from fl_app.host.party_keys import pod_card
from fl_app.hub.app import Hub
from fl_app.hub.role import Role
from fl_app.tabular.settings import DataStructure
from server.app.results import Metrics, PodResult, Results, RoundResult
from server.app.run_directory import RunDirectory
from server.hub.modeller import modeller_role
from server.hub.operator import operator_role
from server.superlink.directory import SuperLinkDirectory
from server.superlink.status import SOCKET, short_path

_ORIGIN = "http://127.0.0.1:8050"
_ROUNDS = 10
_WHEN = "2026-01-02T03:04:05+00:00"


@dataclass(frozen=True)
class Page:
    """Milliseconds for one page: the first time, and the median, least and most of the later ones."""

    page: str
    pods: int
    runs: int
    first: float
    median: float
    least: float
    most: float


def pages(pods: int, runs: int, repeats: int) -> list[Page]:
    """Time pages of modeller and operator."""
    names = tuple(f"pod-{number:03}" for number in range(pods))
    with tempfile.TemporaryDirectory(prefix="fl-app-bench-") as directory:
        place = Path(directory)
        newest = _write_runs(place / "runs", names, runs)
        listed = ", ".join(f'"{name}"' for name in names)
        (place / "fl-app.toml").write_text(
            f'[federation.bench]\nkind = "deployment"\nsuperlink = "127.0.0.1:1"\ninsecure = true\npods = [{listed}]\n'
        )
        federation = find_federation("bench", place)
        modeller = [modeller_role(federation, place / "runs")]
        measured = [
            _time(modeller, page, pods, runs, repeats) for page in ("/modeller/runs", f"/modeller/runs/{newest}")
        ]
        superlink = SuperLinkDirectory.provision(place / "superlink", "127.0.0.1:1", "bench")
        superlink.registry.add([pod_card(name, place / "keys" / name) for name in names])
        operator = [operator_role(superlink)]
        with _saying(superlink.path / SOCKET, _document(names, runs)):
            paths = ("/operator/", "/operator/parties", "/operator/runs")
            return measured + [_time(operator, page, pods, runs, repeats) for page in paths]


def _time(roles: list[Role], path: str, pods: int, runs: int, repeats: int) -> Page:
    hub = Hub(roles, [_ORIGIN], "secret")
    session = hub.sessions.open(hub.sessions.new_code())
    headers = {"cookie": f"fl-app-hub-8050={session}", "accept": "text/html"}

    async def asked() -> list[float]:
        taken = []
        async with httpx.AsyncClient(transport=httpx.ASGITransport(hub.app), base_url=_ORIGIN) as client:
            for _ in range(repeats + 1):
                before = time.perf_counter()
                (await client.get(path, headers=headers)).raise_for_status()
                taken.append(1000 * (time.perf_counter() - before))
        return taken

    first, *later = asyncio.run(asked())
    shown = path if path.count("/") < 3 else "/modeller/runs/RUN"
    return Page(shown, pods, runs, first, statistics.median(later), min(later), max(later))


def _write_runs(place: Path, names: tuple[str, ...], count: int) -> str:
    config = RunConfig(pods=names, datastructure=DataStructure(target="outcome"), rounds=_ROUNDS)
    figures: dict[str, Any] = {"accuracy": 0.8, "auc": 0.9, "loss": 0.4, "num_examples": 1000}
    rounds = tuple(
        RoundResult(round=one, train_loss=0.5, pods=names, seconds=1.0, **figures) for one in range(1, _ROUNDS)
    )
    known = tuple(PodResult(name=name, key=name, approves=names) for name in names)
    final = Metrics(**figures)
    results = Results(status="completed", rounds=rounds, pods=known, final=final, started=_WHEN, seconds=9.0)
    place.mkdir()
    first = RunDirectory.create(place, config)
    first.write_results(results)
    for number in range(1, count):  # by names of their own: those of one second are not made to be so many
        shutil.copytree(first.path, place / f"20260101-{number:06}-0000")
    return first.name


def _document(names: tuple[str, ...], runs: int) -> bytes:
    when = {"registered_at": _WHEN, "last_activated_at": _WHEN, "last_deactivated_at": _WHEN, "flwr": "1.42.0"}
    nodes = [{"name": name, "node": 1, "status": "online", "busy": False, **when} for name in names]
    facts = {"modeller": "ada", "status": "finished", "sub_status": "completed", "details": "", "app": "ab"}
    times = {"started_at": _WHEN, "running_at": _WHEN, "finished_at": _WHEN}
    started = [{"run": number, **facts, **times, "waits_for": []} for number in range(runs)]
    said: dict[str, Any] = {"time": 0, "versions": {"fl-app": "1"}, "nodes": nodes, "runs": started}
    return json.dumps(said).encode()


@contextmanager
def _saying(path: Path, said: bytes) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as listener:
        with short_path(path) as short:
            listener.bind(short)
        listener.listen()

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(said)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)
