"""The page of a federation: its pods, what they publish side by side, and who approves whom."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from fl_app.federation.approvals import approval_matrix
from fl_app.federation.kinds import DeployedFederation, Federation
from fl_app.hub.role import Parameters
from server.hub.look import Look
from server.modeller.schema_discovery import PodInfo, Published, pod_files
from server.modeller.schema_verdicts import ColumnVerdict, judge


class FederationPage:
    """What the page shows.

    Parameters
    ----------
    federation, look
        Whose pods, and what they answered.
    options
        What a command needs to name the federation and the directory of the runs: options with their values.
    """

    def __init__(self, federation: Federation, look: Look, options: Sequence[str] = ()) -> None:
        self._federation, self._look, self._options = federation, look, options
        self._named = federation.pod_identifiers
        self._files = pod_files(federation)
        self._judged: tuple[object, str, list[ColumnVerdict]] | None = None

    def values(self, parameters: Parameters) -> Mapping[str, Any]:
        """Return what the template is filled in with; ``target`` names the column that is to be predicted."""
        state, federation = self._look.state, self._federation
        published = state.published or Published({})
        missing = [name for name in self._named if name not in published.pods] if state.published else []
        target = parameters.get("target", federation.test_target or "")
        verdicts = self._verdicts(published, target)
        pods = published.pods
        matrix = _matrix(pods, missing)
        ready = bool(pods) and not missing and not published.problems and bool(target)
        ready = ready and not any(verdict.verdict == "does not fit" for verdict in verdicts)
        ready = ready and not any("no" in row[1:] for row in matrix[1:]) and len(pods) > 1
        return {
            "federation": federation,
            "superlink": federation.superlink if isinstance(federation, DeployedFederation) else "",
            "state": state,
            "named": self._named,
            "pods": pods,
            "missing": missing,
            "problems": published.problems,
            "target": target,
            "columns": [verdict.name for verdict in self._verdicts(published, "")],
            "verdicts": verdicts,
            "cells": {verdict.name: [_described(verdict.name, info) for info in pods.values()] for verdict in verdicts},
            "matrix": matrix,
            "reasons": list(_reasons(pods, missing, self._files)),
            "ready": ready,
            "fit": self._fit_command(target),
        }

    def _verdicts(self, published: Published, target: str) -> list[ColumnVerdict]:
        """Return the verdict on each column; with a target, it comes first, and more is asked of it."""
        key = (published, target)
        if not published.pods:
            return []
        if self._judged is None or self._judged[0] is not published or self._judged[1] != target:
            schemas = [info.schema for info in published.pods.values()]
            self._judged = (*key, judge(schemas, target=target or None, files=self._files))
        return self._judged[2]

    def _fit_command(self, target: str) -> str:
        chosen = ["--target", target] if target and target != self._federation.test_target else []
        return shlex.join(["fl-app", "fit", *self._options, *chosen])


def _matrix(pods: Mapping[str, PodInfo], missing: Sequence[str]) -> list[list[str]]:
    return approval_matrix([*pods, *missing], {name: info.approves for name, info in pods.items()})


def _reasons(pods: Mapping[str, PodInfo], missing: Sequence[str], files: Mapping[str, str]) -> Any:
    """Yield a sentence for each approval that is not there, with what its owner would type."""
    for name, info in pods.items():
        for other in (*pods, *missing):
            if other != name and other not in info.approves:
                file = files.get(name, f"{name}.yaml")
                command = shlex.join(["fl-app", "pod", "approve", other, f"{other}.card", "--pod", file])
                yield f"{name} does not approve {other}", f"The owner of {name} would type this", command
    for name in missing:
        yield f"{name} did not answer, so whom it approves is not known", "", ""


def _described(name: str, info: PodInfo) -> str:
    return info.schema.column(name).summary if name in info.schema.names else ""
