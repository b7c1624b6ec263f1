"""A SuperLink's directory that is not served, what its socket would say, and its operator's hub."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from fl_app.host.party_keys import modeller_card, pod_card
from fl_app.hub.app import Hub
from server.hub.operator import operator_role
from server.superlink.directory import SuperLinkDirectory
from server.superlink.status import SOCKET, short_path

ORIGIN = "http://127.0.0.1:8050"


def provisioned(path: Path, address: str = "127.0.0.1:1") -> SuperLinkDirectory:
    """Return the directory of a SuperLink with two pods and a modeller."""
    made = SuperLinkDirectory.provision(path / "superlink", address, "hospitals")
    cards = [pod_card(name, path / name) for name in ("north", "south")]
    made.registry.add([*cards, modeller_card("ada", path / "ada")])
    return made


def document(**more: Any) -> dict[str, Any]:
    """Return what a SuperLink says of itself: north is online, south is not, a run waits for north."""
    nodes = [node("north", "online", busy=True), node("south", "offline")]
    return {"time": 0, "versions": {"fl-app": "0.1.0"}, "nodes": nodes, "runs": [run()], **more}


def node(name: str, status: str, **more: Any) -> dict[str, Any]:
    when = "2026-01-02T03:04:05+00:00"
    known = {"node": 1, "registered_at": when, "last_activated_at": when, "last_deactivated_at": when, "flwr": "1.42.0"}
    return {"name": name, "status": status, "busy": False, **known, **more}


def run(**more: Any) -> dict[str, Any]:
    waits = [{"pod": "north", "since": 1.0, "kind": "train", "sends": False}]
    facts = {"run": 17, "modeller": "ada", "status": "running", "sub_status": "", "details": "", "app": "ab"}
    times = {"started_at": "2026-01-02T03:04:05+00:00", "running_at": None, "finished_at": None}
    return {**facts, **times, "waits_for": waits, **more}


@contextmanager
def saying(directory: SuperLinkDirectory, said: Any) -> Iterator[list[int]]:
    """Have the socket say this while the block runs, as a SuperLink would; yields how often it was asked."""
    asked = [0]
    listener = socket.socket(socket.AF_UNIX)
    with short_path(directory.path / SOCKET) as short:
        listener.bind(short)
    listener.listen()

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                asked[0] += 1
                connection.sendall(said if isinstance(said, bytes) else json.dumps(said).encode())

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)
        (directory.path / SOCKET).unlink()


class Operators:
    """A browser that is logged in to the hub of an operator."""

    def __init__(self, directory: SuperLinkDirectory) -> None:
        self.role = operator_role(directory)
        self.hub = Hub([self.role], [ORIGIN], "the-secret")
        session = self.hub.sessions.open(self.hub.sessions.new_code())
        self._cookie = {"cookie": f"fl-app-hub-8050={session}", "accept": "text/html"}

    def get(self, path: str) -> httpx.Response:
        async def sent() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self.hub.app), base_url=ORIGIN) as client:
                return await client.get(path, headers=self._cookie)

        return asyncio.run(sent())

    def page(self, path: str) -> str:
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text
