"""Schema discovery: asking pods what they publish, before anything is trained.

It is a run that consists of a hello only, in a temporary directory. Pods record it in their ledgers.
"""

import json
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fl_app.errors import RunFailed, UsageError
from fl_app.federation.kinds import Federation, SimulatedFederation, find_federation
from fl_app.flower.protocol_settings import Timing
from fl_app.tabular.column_spec import ColumnSpec
from fl_app.tabular.combining import combine
from fl_app.tabular.schema import CombinedSchema, Schema
from server.app.results import Discovery, RunRequest
from server.app.run_directory import RunDirectory
from server.modeller.launch import MARGIN, FitFailed, Follow, carry_out, check_pods
from server.modeller.loggers import PROGRESS, progress_console

_log = logging.getLogger(PROGRESS)


@dataclass(frozen=True)
class PodInfo:
    """What a pod publishes.

    Attributes
    ----------
    schema
        The columns of its table.
    key
        The fingerprint of its identity key.
    approves
        Those of the other pods asked that it approves.
    online_since
        When its node connected, in ISO 8601; None if the SuperLink does not tell.
    last_seen
        When it answered, in ISO 8601.
    versions
        The versions that it has installed, by package.
    """

    schema: Schema
    key: str
    approves: tuple[str, ...]
    online_since: str | None = None
    last_seen: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """What pods have answered: by their names, and a sentence for each node that could not answer."""

    pods: Mapping[str, PodInfo]
    problems: tuple[str, ...] = ()


def get_pod_schema(
    pod_identifier: str, federation: str | Federation | None = None, *, timeout: float = Timing.hello
) -> Schema:
    """Return the schema that a pod publishes at present.

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
    return _schemas_of([pod_identifier], federation_of(federation), timeout)[0]


def combine_pod_schemas(
    pod_identifiers: Sequence[str] | None = None,
    federation: str | Federation | None = None,
    *,
    ignore_cols: Sequence[str] = (),
    columns: ColumnSpec | None = None,
    timeout: float = Timing.hello,
) -> CombinedSchema:
    """Ask pods for their schemas and combine them into one: the union of categories, the widest bounds.

    Parameters
    ----------
    pod_identifiers
        The pods' names; None: all of the federation's.
    federation
        A federation, or its name as for ``--federation``; None: the nearest, see `find_federation`.
    ignore_cols
        Columns to leave out, such as those whose types differ between pods.
    columns
        What is proposed to the pods for their columns; `fit` must be given the same.
    timeout
        Seconds to wait for the pods to connect and answer.

    Raises
    ------
    RunFailed
        If a pod does not answer.
    SchemaMismatch
        If the schemas contradict each other; the error names pods, column and types.
    """
    chosen = federation_of(federation)
    names = chosen.pod_identifiers if pod_identifiers is None else pod_identifiers
    return combine(_schemas_of(names, chosen, timeout, columns), ignore_cols=ignore_cols)


def discover_schemas(
    pods: Sequence[str], federation: Federation, timeout: float = Timing.hello, columns: ColumnSpec | None = None
) -> dict[str, PodInfo]:
    """Return what pods publish at present, by their names.

    Parameters
    ----------
    pods
        Names of the pods to ask, in the order of the result. If it is empty, every connected pod is asked, and a node
        that cannot answer is reported in a warning.
    timeout
        Seconds to wait for the pods to connect and answer.
    columns
        What is proposed to the pods for their columns.

    Raises
    ------
    UsageError
        If a simulation has no pod of that name.
    RunFailed
        If a named pod does not answer, or no pod at all does.
    """
    published = ask_pods(pods, federation, timeout, columns)
    for problem in published.problems:
        _log.warning(problem)
    return dict(published.pods)


def ask_pods(
    pods: Sequence[str],
    federation: Federation,
    timeout: float = Timing.hello,
    columns: ColumnSpec | None = None,
    follow: Follow | None = None,
) -> Published:
    """Return what pods publish at present, and the problems of those that could not answer.

    Arguments and errors are those of `discover_schemas`; ``follow`` is called with how far it is.
    """
    check_pods(pods, federation)
    discovery = Discovery(
        names=tuple(pods) or federation.pod_identifiers,
        timeout=timeout,
        required=bool(pods),
        proposal=columns.to_json() if columns else "",
    )
    with tempfile.TemporaryDirectory(prefix="fl-app-") as scratch:
        run = RunDirectory.create(Path(scratch), None, RunRequest(look=discovery))
        try:
            carry_out(run, federation, 2 * timeout + MARGIN, follow, temporary=Path(scratch))
        except FitFailed as error:
            raise RunFailed(f"the pods could not be asked: {error}") from error
        results = run.results()
    published = {
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
    return Published(published, results.problems)


def federation_of(given: str | Federation | None) -> Federation:
    """Return the federation itself, the one of that name, or for None the nearest."""
    return find_federation(given, Path.cwd()) if given is None or isinstance(given, str) else given


def pod_files(federation: Federation) -> dict[str, str]:
    """Return the pods' files by their names, where they are on this machine."""
    if not isinstance(federation, SimulatedFederation):
        return {}
    files = (os.path.relpath(file) for file in federation.pods)
    return dict(zip(federation.pod_identifiers, files, strict=True))


def _schemas_of(
    names: Sequence[str], federation: Federation, timeout: float, columns: ColumnSpec | None = None
) -> list[Schema]:
    if not names:
        raise UsageError("name at least one pod")
    progress_console().print(f"asking for schemas: {', '.join(names)} ({federation.kind})", highlight=False)
    published = discover_schemas(names, federation, timeout, columns)
    return [published[name].schema for name in names]
