"""The owner's pages about who and what may work with the pod, and on what terms."""

import json
import shlex

from client.hub.compared import MOST_FILES, MOST_LINES, compared
from client.hub.source import Source, Values
from client.hub.words import told_time
from fl_app.hub.role import NotThere, Parameters
from fl_app.pod.policy import Policy


class TermsPages:
    """Their values, read anew for each look."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def approvals(self, _parameters: Parameters) -> Values:
        """Return which pods may work with this one: those its file names, those whose key is known, or both."""
        sums, unread = self._source.sums()
        pod, why = self._source.pod.pod()
        known, wrong = self._source.known()
        named = [name for name in (pod.approved_pods if pod else ()) if name != self._source.pod.name]
        rows = []
        for name in [*named, *(name for name in known if name not in named and name != self._source.pod.name)]:
            key = known.get(name, "")
            time, sessions = sums.met.get((name, key), ("", 0))
            card = shlex.quote(f"{name}.card")
            file = f" --pod {shlex.quote(str(self._source.pod.file))}" if self._source.pod.file else ""
            rows.append(
                {
                    "name": name,
                    "key": key,
                    "state": ("approved" if key else "key missing") if name in named else "not approved",
                    "met": told_time(time),
                    "sessions": sessions,
                    "approve": self._source.command("pod approve", name, f"{card}{file}"),
                    "revoke": self._source.command("pod revoke", name),
                }
            )
        least = pod.policy.minimum_cohort if pod else Policy().minimum_cohort
        approved = sum(row["state"] == "approved" for row in rows)
        file = f" --pod {shlex.quote(str(self._source.pod.file))}" if self._source.pod.file else ""
        return self._source.frame(sums, unread) | {
            "rows": rows,
            "problems": [text for text in (why, wrong) if text],
            "file": self._source.pod.file,
            "least": least,
            "missing": max(0, least - approved - 1),
            "example": self._source.command("pod approve", "OTHER-POD", f"OTHER-POD.card{file}"),
        }

    def apps(self, _parameters: Parameters) -> Values:
        """Return which versions of the app may run here, and which were refused."""
        approved = [
            (name, self._source.modified("apps", name), self._source.apps.approved(name))
            for name in self._source.apps.names()
        ]
        refused = [(name, self._source.modified("refused", name)) for name in self._source.apps.refused()]
        return {
            "approved": approved,
            "refused": refused,
            "command": self._source.command("pod approve-app", self._source.pod.name),
            "revoke": self._source.command("pod approve-app", self._source.pod.name, "--revoke"),
            "suffix": self._source.suffix,
        }

    def app(self, parameters: Parameters) -> Values:
        """Return what a refused version of the app would change."""
        version = parameters["version"]
        if version not in self._source.apps.refused():
            raise NotThere("no refused version of that hash is kept here")
        found = compared(self._source.pod.directory, version)
        return {
            "version": version,
            "time": self._source.modified("refused", version),
            "found": found,
            "most": MOST_LINES,
            "shown": found.changes[:MOST_FILES],
            "added": sum(change.added for change in found.changes),
            "removed": sum(change.removed for change in found.changes),
            "command": self._source.command("pod approve-app", self._source.pod.name, version),
        }

    def policy(self, _parameters: Parameters) -> Values:
        """Return each term of the owner's, and what it means."""
        pod, why = self._source.pod.pod()
        policy = pod.policy if pod else Policy()
        rows = [
            (name, _term(getattr(policy, name)), _term(field.default), field.description)
            for name, field in Policy.model_fields.items()
        ]
        return {"rows": rows, "file": self._source.pod.file, "why": why, "there": pod is not None}

    def data(self, _parameters: Parameters) -> Values:
        """Return what the pod has published of its table."""
        pod, why = self._source.pod.pod()
        published = self._source.pod.published()
        changed = 0.0
        if pod is not None and published is not None:
            try:
                changed = pod.datasource.path.stat().st_mtime
            except OSError as error:
                why = f"{pod.datasource.path}: {error.strerror}"
        file = shlex.quote(str(self._source.pod.file)) if self._source.pod.file else "FILE"
        return {
            "pod": pod,
            "published": published,
            "stale": published is not None and changed > published.time,
            "why": why,
            "check": f"fl-app pod check {file}{self._source.suffix}",
        }


def _term(value: object) -> str:
    return "no limit" if value is None else json.dumps(value)
