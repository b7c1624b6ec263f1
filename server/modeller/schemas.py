"""Asking pods what they publish: a run that is a hello and nothing more, in a directory that does not stay."""

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fl_app.errors import RunFailed, UsageError
from fl_app.federation.kinds import Federation, find_federation
from fl_app.tabular.schema import CombinedSchema, Schema, combine
from server.app.results import Discovery, RunRequest
from server.app.run_directory import RunDirectory
from server.modeller.launch import MARGIN, FitFailed, carry_out
from server.modeller.loggers import progress_console

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
    discovery = Discovery(names=tuple(pods) or federation.pod_identifiers, timeout=timeout, required=bool(pods))
    with tempfile.TemporaryDirectory(prefix="fl-app-") as scratch:
        run = RunDirectory.create(Path(scratch), None, RunRequest(look=discovery))
        try:
            carry_out(run, federation, 2 * timeout + MARGIN)
        except FitFailed as error:
            raise RunFailed(f"the pods could not be asked: {error}") from error
        results = run.results()
    for problem in results.problems:
        _log.warning(problem)
    return {
        pod.name: PodInfo(
            Schema.from_json(json.dumps(pod.published)),
            pod.key,
            pod.approves,
            pod.online_since,
            pod.last_seen,
            pod.versions,
        )
        for pod in results.pods
    }


def get_pod_schema(pod_identifier: str, federation: str | Federation | None = None, *, timeout: float = 60.0) -> Schema:
    """Return the schema that a pod publishes now.

    Parameters
    ----------
    pod_identifier
        The pod's name.
    federation, timeout
        As for `combine_pod_schemas`.

    Raises
    ------
    RunFailed
        If the pod does not answer.
    """
    return _ask([pod_identifier], federation_of(federation), timeout)[0]


def combine_pod_schemas(
    pod_identifiers: Sequence[str] | None = None,
    federation: str | Federation | None = None,
    *,
    ignore_cols: Sequence[str] = (),
    timeout: float = 60.0,
) -> CombinedSchema:
    """Ask pods for their schemas, and make one of them: categories united, bounds widened.

    Parameters
    ----------
    pod_identifiers
        The pods' names; None: all of the federation's.
    federation
        A federation, or its name as ``--federation`` takes it; None: the nearest, see `find_federation`.
    ignore_cols
        Columns to leave out, such as those that are of different types in different pods.
    timeout
        Seconds for the pods to connect and answer.

    Raises
    ------
    RunFailed
        If a pod does not answer.
    SchemaMismatch
        If the schemas do not go together; it names pods, column and types.
    """
    found = federation_of(federation)
    names = found.pod_identifiers if pod_identifiers is None else pod_identifiers
    return combine(_ask(names, found, timeout), ignore_cols=ignore_cols)


def federation_of(given: str | Federation | None) -> Federation:
    """Return the federation given, or the one of that name, or the nearest."""
    return find_federation(given, Path.cwd()) if given is None or isinstance(given, str) else given


def _ask(names: Sequence[str], federation: Federation, timeout: float) -> list[Schema]:
    if not names:
        raise UsageError("name at least one pod")
    progress_console().print(f"asking for schemas: {', '.join(names)} ({federation.kind})", highlight=False)
    published = ask_pods(names, federation, timeout)
    return [published[name].schema for name in names]
