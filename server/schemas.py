"""Asking pods what they publish: a run that is a hello and nothing more, in a directory that does not stay."""

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fl_app.errors import RunFailed
from fl_app.federation import Federation
from fl_app.tabular.schema import Schema
from server.fit import MARGIN, FitFailed, carry_out
from server.run_directory import RunDirectory

_log = logging.getLogger("fl_app")


@dataclass(frozen=True)
class PodInfo:
    """What a pod shows on purpose: its schema, its key's fingerprint, and which of the others asked it approves.

    ``versions`` are those that it has installed, by package; ``online_since`` (None: the SuperLink does not tell) and
    ``last_seen`` are of its node, in ISO 8601.
    """

    schema: Schema
    key: str
    approves: tuple[str, ...]
    online_since: str | None = None
    last_seen: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


def ask_pods(pods: Sequence[str], federation: Federation, timeout: float = 60.0) -> dict[str, PodInfo]:
    """Return what pods publish now, by their names.

    Parameters
    ----------
    pods
        Names of the pods to ask, in the order of the result; none: whoever is connected, and a node among them that
        cannot answer is told of in a warning.
    timeout
        Seconds for the pods to connect and answer.

    Raises
    ------
    RunFailed
        If a pod that was named does not answer, or none does.
    """
    look = {"names": list(pods) or list(federation.pod_identifiers), "timeout": timeout, "required": bool(pods)}
    with tempfile.TemporaryDirectory(prefix="fl-app-") as scratch:
        run = RunDirectory.create(Path(scratch), None, look=look)
        try:
            carry_out(run, federation, 2 * timeout + MARGIN)
        except FitFailed as error:
            raise RunFailed(f"the pods could not be asked: {error}") from error
        results = run.results()
    for problem in results["problems"]:
        _log.warning(problem)
    return {
        pod["name"]: PodInfo(
            Schema.from_json(json.dumps(pod["schema"])),
            pod["key"],
            tuple(pod["approves"]),
            pod["online_since"],
            pod["last_seen"],
            pod["versions"],
        )
        for pod in results["pods"]
    }
