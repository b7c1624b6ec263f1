"""What the owner's pages are made from: the pod's home, its ledger, its apps, and the commands that change them."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from client.hub.ledger_sums import Sums
from client.hub.ledger_view import LedgerUnread, LedgerView
from client.hub.standing import Standing
from client.site.approved_apps import Apps
from client.site.budget_report import BudgetReport, report_of
from fl_app.errors import FlAppError
from fl_app.identity.known_pods import Keyring, known_pods
from fl_app.secagg.crypto import fingerprint
from fl_app.secagg.errors import LedgerRefused
from fl_app.system.home import LEDGER_FILE

Values = dict[str, Any]


class Source:
    """One pod as its owner's pages read it.

    Parameters
    ----------
    name, home, file
        As of `client.hub.standing.Standing`.
    """

    def __init__(self, name: str, home: Path | None, file: Path | None) -> None:
        self.pod = Standing(name, home, file)
        self.ledger = LedgerView(self.pod.directory / LEDGER_FILE)
        self.apps = Apps(self.pod.directory)

    def sums(self) -> tuple[Sums, str]:
        """Return what the ledger's entries come to, and why that is not up to date; "" if it is."""
        try:
            return self.ledger.refresh(), ""
        except LedgerUnread as error:
            return self.ledger.sums, str(error)

    def frame(self, sums: Sums, unread: str) -> Values:
        """Return what several pages say of the pod and its ledger."""
        head = sums.written.hex()
        return {
            "name": self.pod.name,
            "seen": sums.seen,
            "broken": sums.broken,
            "unread": unread,
            "head": head,
            "since": self.command("pod log", self.pod.name, f"--since {head}"),
            "run_command": f"fl-app pod run {shlex.quote(str(self.pod.file or 'FILE'))}{self.suffix}",
            "log_command": self.command("pod log", self.pod.name),
        }

    def budget(self) -> tuple[BudgetReport | None, str]:
        """Return how the budget stands, or None and why that cannot be told."""
        try:
            return report_of(self.ledger.spent().total, self.pod.policy()), ""
        except (LedgerUnread, LedgerRefused) as error:
            return None, str(error)

    def known(self) -> tuple[dict[str, str], str]:
        """Return the fingerprints of the keys that are known, and what is wrong with their file; "" for nothing."""
        try:
            keys = Keyring.load(known_pods(self.pod.home)).items()
        except FlAppError as error:
            return {}, error.full_text
        return {name: fingerprint(key) for name, key in keys}, ""

    def key_is(self, known: Mapping[str, str], name: str, key: str) -> str:
        """Return what the key of a cohort is to the keys that are known now."""
        return "known" if known.get(name) == key else "another key is known now" if name in known else "not known now"

    def command(self, verb: str, name: str, rest: str = "") -> str:
        """Return a command to copy, about pod ``name``."""
        return f"fl-app {verb} {shlex.quote(name)}{f' {rest}' if rest else ''}{self.suffix}"

    @property
    def suffix(self) -> str:
        """What commands end in where the home is not the usual one."""
        return f" --home {shlex.quote(str(self.pod.home))}" if self.pod.home else ""

    def modified(self, directory: str, version: str) -> float:
        """Return when a bundle was put into "apps" or "refused", in seconds since the epoch."""
        try:
            return (self.pod.directory / directory / f"{version}.fab").stat().st_mtime
        except OSError:  # approved or withdrawn at this moment
            return 0.0
