"""The pod owner's role: what has left the pod, who and what may work with it, and on what terms."""

import shlex
from pathlib import Path

from client.hub.left import LeftPages, runs_of
from client.hub.metrics import PodCollector
from client.hub.source import Source, Values
from client.hub.terms import TermsPages
from client.hub.words import age, told_budget, told_time
from client.site.pausing import BUTTON, pause, resume
from fl_app.hub.role import Action, Page, Parameters, Role


def owner_role(name: str, home: Path | None = None, file: Path | None = None, *, buttons: bool = False) -> Role:
    """Return the role of the owner of pod ``name``.

    Parameters
    ----------
    name, home, file
        The pod, where keys and ledgers are kept, and the pod's file; None: the one it was last run with.
    buttons
        Whether a button pauses the pod and lets it answer again; else there is the command to copy.
    """
    source = Source(name, home, file)
    owner, left, terms = OwnerPages(source, buttons=buttons), LeftPages(source), TermsPages(source)
    actions = (Action("/pause", owner.pause), Action("/resume", owner.resume)) if buttons else ()
    return Role(
        "owner",
        f"owner of {name}",
        Path(__file__).parent / "templates",
        pages=(
            Page("/", "Overview", "overview.html.j2", owner.overview, "Overview"),
            Page("/ledger", "What has left", "ledger.html.j2", left.ledger, "What has left"),
            Page("/runs", "Runs", "runs.html.j2", left.runs, "Runs"),
            Page("/runs/{run:path}", "Run", "run.html.j2", left.run),
            Page("/approvals", "Approvals", "approvals.html.j2", terms.approvals, "Approvals"),
            Page("/apps", "Apps", "apps.html.j2", terms.apps, "Apps"),
            Page("/apps/{version}", "App version", "app.html.j2", terms.app, live=False),
            Page("/policy", "Policy", "policy.html.j2", terms.policy, "Policy"),
            Page("/data", "Data", "data.html.j2", terms.data, "Data"),
            Page("/budget", "Privacy budget", "budget.html.j2", left.budget, "Privacy budget"),
        ),
        actions=actions,
        collectors=lambda: (PodCollector(name, owner.counts, owner.gauges),),
        healthy=source.pod.online,
    )


class OwnerPages:
    """The overview, what its buttons do, and what monitoring is told."""

    def __init__(self, source: Source, *, buttons: bool) -> None:
        self._source, self._buttons = source, buttons

    def pause(self, _parameters: Parameters) -> str:
        """Pause the pod."""
        pause(self._source.pod.name, self._source.pod.home, BUTTON)
        return f"{self._source.pod.name} is paused"

    def resume(self, _parameters: Parameters) -> str:
        """Let the pod answer again."""
        resume(self._source.pod.name, self._source.pod.home, BUTTON)
        return f"{self._source.pod.name} answers again"

    def overview(self, _parameters: Parameters) -> Values:
        """Return whether the pod answers, what waits for its owner, and what has left it in all."""
        sums, unread = self._source.sums()
        budget, _ = self._source.budget()
        return self._source.frame(sums, unread) | {
            "online": self._source.pod.online(),
            "paused": self._source.pod.paused(),
            "buttons": self._buttons,
            "pause_command": self._source.command("pod pause", self._source.pod.name),
            "resume_command": self._source.command("pod resume", self._source.pod.name),
            "totals": sums.totals,
            "last_answer": told_time(sums.last_answer),
            "last_refusal": sums.last_refusal,
            "last_refusal_time": told_time(sums.last_refusal.time) if sums.last_refusal else "",
            "budget": told_budget(budget),
            "waiting": self._waiting(),
            "recent": runs_of(sums)[:5],
            "time": told_time,
        }

    def counts(self) -> dict[str, int]:
        """Return the ledger's totals; {} if it cannot be read."""
        sums, unread = self._source.sums()
        return {} if unread else sums.totals.document()

    def gauges(self) -> dict[str, float]:
        """Return the pod's state in numbers, without those that it does not have."""
        sums, unread = self._source.sums()
        budget, _ = self._source.budget()
        found: dict[str, float] = {
            "online": self._source.pod.online(),
            "paused": self._source.pod.paused(),
            "apps_waiting": len(self._source.apps.refused()),
            "ledger_readable": not unread,
        }
        if not unread:
            found["ledger_verified"] = sums.broken is None
        if sums.last_answer and (old := age(sums.last_answer)) is not None:
            found["last_answer_age_seconds"] = old
        if budget is not None:
            found["epsilon_spent"] = budget.spent
            if budget.left is not None:
                found["epsilon_left"] = budget.left
        return found

    def _waiting(self) -> list[tuple[str, str, str]]:
        """Return what waits for the owner: a text, where to look, and the command."""
        waiting = []
        for version in self._source.apps.refused():
            text = f"An app version that is not approved asked to run here: {version[:12]}"
            waiting.append(
                (text, f"/apps/{version}", self._source.command("pod approve-app", self._source.pod.name, version))
            )
        if not any(self._source.apps.approved(name) for name in self._source.apps.names()):
            text = "No version of the app is approved, so the pod refuses all"
            waiting.append((text, "/apps", self._source.command("pod approve-app", self._source.pod.name)))
        pod, why = self._source.pod.pod()
        known, wrong = self._source.known()
        waiting += [(text, "/approvals", "") for text in (why, wrong) if text]
        for other in pod.approved_pods if pod else ():
            if other not in known and other != self._source.pod.name:
                command = self._source.command("pod approve", other, shlex.quote(f"{other}.card"))
                waiting.append((f"{other} is in approved_pods, but its key is not known", "/approvals", command))
        return waiting
