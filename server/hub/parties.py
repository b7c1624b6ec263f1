"""What an operator sees of pods, modellers and runs: the register, what the SuperLink says, and when each was seen."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from fl_app.errors import UsageError
from fl_app.host.card import Card
from fl_app.secagg.crypto import fingerprint
from server.hub.superlink_state import SuperLinkState
from server.superlink.directory import SuperLinkDirectory
from server.superlink.last_seen import LastSeen


@dataclass(frozen=True)
class Party:
    """A registered pod or modeller; times are seconds since the epoch.

    ``state`` is "online", "at work", "offline", "not seen yet", or, if the SuperLink does not say, "unknown".
    """

    name: str
    role: str
    fingerprint: str
    replaces: str | None
    registered: float
    last_seen: float | None
    state: str
    since: float | None = None
    flower: str = ""


@dataclass(frozen=True)
class Revoked:
    """A revoked card, and when it was revoked; one that cannot be read has the name of its file."""

    name: str
    role: str
    fingerprint: str
    when: float


@dataclass(frozen=True)
class Waiting:
    """A pod that a run waits for: for which answer, since when, and whether it is on its way."""

    pod: str
    kind: str
    seconds: float | None
    sends: bool


@dataclass(frozen=True)
class Run:
    """A run as the SuperLink knows it."""

    number: str
    modeller: str
    status: str
    details: str
    started: float | None
    finished: float | None
    waits_for: tuple[Waiting, ...] = ()

    @property
    def under_way(self) -> bool:
        """Whether it has not ended."""
        return self.status in ("pending", "starting", "running")


@dataclass(frozen=True)
class View:
    """Everything at one moment. ``up`` is None if the SuperLink serves but says nothing of its state."""

    time: float
    up: bool | None
    versions: Mapping[str, str]
    parties: tuple[Party, ...]
    runs: tuple[Run, ...]
    damaged: tuple[str, ...]
    revoked: tuple[Revoked, ...]
    certificate_days: int
    authority_days: int
    runs_started: int

    def of_role(self, role: str) -> list[Party]:
        """Return the parties of a role by their names."""
        return [party for party in self.parties if party.role == role]

    @property
    def online(self) -> list[Party]:
        """The pods that are there."""
        return [pod for pod in self.of_role("pod") if pod.state in ("online", "at work")]

    @property
    def under_way(self) -> list[Run]:
        """The runs that have not ended."""
        return [run for run in self.runs if run.under_way]


@dataclass
class Sources:
    """Where the operator's hub reads: the directory, and the SuperLink's own process."""

    directory: SuperLinkDirectory
    state: SuperLinkState = field(init=False)
    _revoked: dict[tuple[str, int, int], Revoked] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.state = SuperLinkState(self.directory.path)

    def view(self) -> View:
        """Read everything anew."""
        document, registry = self.state.read(), self.directory.registry
        said = document or {}
        nodes = {node["name"]: node for node in said.get("nodes", ())}
        seen = LastSeen(self.directory.path / "seen").times()
        parties = [
            self._party(card, nodes.get(name, {}), seen.get(name), known=document is not None)
            for name, card in sorted(registry.cards.items())
        ]
        return View(
            time=time.time(),
            up=True if document is not None else self._serves(),
            versions=said.get("versions", {}),
            parties=tuple(parties),
            runs=tuple(_run(one) for one in said.get("runs", ())),
            damaged=tuple(registry.damaged()),
            revoked=tuple(self._all_revoked()),
            certificate_days=self.directory.days_left(),
            authority_days=self.directory.authority_days_left(),
            runs_started=len(registry.starters()),
        )

    def _serves(self) -> bool | None:
        from server.superlink.serve import answers

        return None if answers(self.directory, 1.0) else False

    def _party(self, card: Card, node: Mapping[str, Any], seen: float | None, *, known: bool) -> Party:
        path = self.directory.path / "registered" / f"{card.name}.card"
        if card.role == "modeller":
            state = "" if seen else "not seen yet"
        elif not known:
            state = "unknown"
        elif node.get("status") == "online":
            state = "at work" if node.get("busy") else "online"
        else:
            state = "offline" if seen else "not seen yet"
        since = node.get("last_activated_at" if node.get("status") == "online" else "last_deactivated_at")
        return Party(
            name=card.name,
            role=card.role,
            fingerprint=card.fingerprint,
            replaces=fingerprint(card.predecessor) if card.predecessor else None,
            registered=_changed(path),
            last_seen=seen,
            state=state,
            since=_seconds(since),
            flower=str(node.get("flwr") or ""),
        )

    def _all_revoked(self) -> list[Revoked]:
        found = {}
        for path in (self.directory.path / "revoked").glob("[!.]*.card"):
            status = path.stat()
            stamp = (path.name, status.st_mtime_ns, status.st_ino)
            found[stamp] = self._revoked.get(stamp) or _revoked(path, status.st_mtime)
        self._revoked = found
        return sorted(found.values(), key=lambda one: -one.when)


def _revoked(path: Path, when: float) -> Revoked:
    try:
        card = Card.load(path)
    except UsageError:
        return Revoked(path.name, "cannot be read", "", when)
    return Revoked(card.name, card.role, card.fingerprint, when)


def _run(said: Mapping[str, Any]) -> Run:
    waits = tuple(
        Waiting(one["pod"], one["kind"], time.time() - one["since"] if one["since"] else None, one["sends"])
        for one in said["waits_for"]
    )
    return Run(
        number=str(said["run"]),
        modeller=said["modeller"] or "unknown",
        status=said["sub_status"] or said["status"],
        details=said["details"],
        started=_seconds(said["started_at"]),
        finished=_seconds(said["finished_at"]),
        waits_for=waits,
    )


def _seconds(written: str | None) -> float | None:
    try:
        return datetime.fromisoformat(written).timestamp() if written else None
    except ValueError:
        return None


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # revoked since it was read
        return 0.0
