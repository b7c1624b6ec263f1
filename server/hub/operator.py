"""The operator's role: who is registered and there, what runs and whom it waits for, what needs attention, the log."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from fl_app.hub.role import NotThere, Page, Parameters, Role
from server.hub.log_tail import MOST_LINES, last_lines
from server.hub.operator_metrics import OperatorMetrics
from server.hub.parties import Sources, View
from server.superlink.certificates import RENEW_DAYS
from server.superlink.directory import SuperLinkDirectory
from server.superlink.serve import LOG

NAME = "operator"
_LONG_WAIT = 120.0
"""Seconds after which it is said that a run waits for a pod."""
_AUTHORITY_DAYS = 90


@dataclass(frozen=True)
class Attention:
    """What needs attention: its kind ("bad" or "warn"), what it is, and the command that helps, or ""."""

    kind: str
    text: str
    command: str = ""


def operator_role(directory: SuperLinkDirectory) -> Role:
    """Return the role of whoever operates the SuperLink of ``directory``."""
    return _Operator(directory).role()


class _Operator:
    def __init__(self, directory: SuperLinkDirectory) -> None:
        self._directory, self._sources = directory, Sources(directory)
        self._path = quote(str(directory.path))

    def role(self) -> Role:
        return Role(
            NAME,
            f"operator of {self._directory.federation.name}",
            Path(__file__).parent / "templates" / NAME,
            pages=(
                Page("/", "Overview", "overview.html.j2", self._overview, "Overview"),
                Page("/parties", "Parties", "parties.html.j2", self._parties, "Parties"),
                Page("/parties/{name}", "Party", "party.html.j2", self._party),
                Page("/runs", "Runs", "runs.html.j2", self._runs, "Runs"),
                Page("/log", "Log", "log.html.j2", self._log, "Log"),
            ),
            collectors=lambda: (OperatorMetrics(self._sources),),
            healthy=lambda: self._sources.state.read() is not None or bool(self._sources.view().up is None),
        )

    def _overview(self, _parameters: Parameters) -> Mapping[str, Any]:
        view = self._sources.view()
        pods = view.of_role("pod")
        tiles = [
            ("SuperLink", {True: "serves", None: "serves, silently", False: "does not answer"}[view.up]),
            ("pods online", f"{len(view.online)} of {len(pods)}" if view.up else f"? of {len(pods)}"),
            ("modellers", len(view.of_role("modeller"))),
            ("runs under way", len(view.under_way) if view.up else "?"),
            ("certificate", _days(view.certificate_days)),
            ("authority", _days(view.authority_days)),
        ]
        return {
            **self._common(view),
            "tiles": tiles,
            "attention": self._attention(view),
            "pods": pods,
            "register": self._register(),
        }

    def _parties(self, _parameters: Parameters) -> Mapping[str, Any]:
        view = self._sources.view()
        return {
            **self._common(view),
            "pods": view.of_role("pod"),
            "modellers": view.of_role("modeller"),
            "commands": {
                "register": self._register(),
                "revoke": self._command("superlink", "revoke") + " NAME",
                "renew": self._command("superlink", "renew"),
            },
        }

    def _party(self, parameters: Parameters) -> Mapping[str, Any]:
        view, name = self._sources.view(), parameters["name"]
        party = next((party for party in view.parties if party.name == name), None)
        if party is None:
            raise NotThere("Nobody of this name is registered here.")
        if party.role == "pod":
            runs = [run for run in view.under_way if any(one.pod == name for one in run.waits_for)]
        else:
            runs = [run for run in view.runs if run.modeller == name][:20]
        return {
            **self._common(view),
            "party": party,
            "runs": runs,
            "join_file": str(self._directory.join_file),
            "revoke": f"{self._command('superlink', 'revoke')} {quote(name)}",
            "replace": self._register(quote(name)),
        }

    def _runs(self, _parameters: Parameters) -> Mapping[str, Any]:
        return self._common(self._sources.view())

    def _log(self, parameters: Parameters) -> Mapping[str, Any]:
        word, requests = parameters.get("q", "")[:200], parameters.get("requests") == "1"
        lines = last_lines(self._directory.path / LOG, word, requests=requests)
        values = {"lines": lines, "word": word, "requests": requests, "most": MOST_LINES}
        return {**values, "path": str(self._directory.path / LOG)}

    def _common(self, view: View) -> dict[str, Any]:
        return {"view": view, "now": view.time, "serve": self._serve()}

    def _command(self, *words: str) -> str:
        return " ".join(("fl-app", *words, self._path))

    def _attention(self, view: View) -> list[Attention]:
        renew, place = self._command("superlink", "renew"), self._directory.path
        found = []
        if view.up is False:
            found.append(Attention("bad", "The SuperLink does not answer on this machine.", self._serve()))
        if view.up is None:
            text = "The SuperLink serves, but says nothing of pods and runs: end it and start it again."
            found.append(Attention("warn", text, self._serve()))
        if view.certificate_days < RENEW_DAYS:
            what = "has expired" if view.certificate_days < 0 else f"expires in {_days(view.certificate_days)}"
            kind = "bad" if view.certificate_days < 0 else "warn"
            text = f"The SuperLink's certificate {what}. Make a new one, and start the SuperLink again."
            found.append(Attention(kind, text, renew))
        if view.authority_days < _AUTHORITY_DAYS:
            text = f"The authority has {_days(view.authority_days)} left: all parties will need a new join file."
            found.append(Attention("bad" if view.authority_days < 0 else "warn", text))
        for name in view.damaged:
            text = f"{place / 'registered' / (name + '.card')} is no valid card and registers nobody."
            text = f"{text} Ask its owner for the card, and register it again."
            found.append(Attention("bad", text, self._register()))
        for one in view.revoked:
            if not one.fingerprint:
                text = f"{place / 'revoked' / one.name} cannot be read: nobody can be registered until it can."
                found.append(Attention("bad", text))
        for run in view.under_way:
            for waited in run.waits_for:
                if waited.seconds is not None and waited.seconds > _LONG_WAIT:
                    minutes = f"{waited.seconds / 60:.0f} min"
                    text = f"Run {run.number} of {run.modeller} has waited for {waited.pod} for {minutes}."
                    found.append(Attention("warn", text))
        return found

    def _serve(self) -> str:
        return self._command("superlink", "run")

    def _register(self, name: str = "NAME") -> str:
        return self._command("provision", self._directory.address, f"{name}.card", "--directory")


def _days(days: int) -> str:
    return f"{days} day{'' if days == 1 else 's'}"
