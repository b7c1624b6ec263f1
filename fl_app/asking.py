"""Asking pods which columns they publish: a look that trains nothing."""

from collections.abc import Sequence
from pathlib import Path

from fl_app.doors import open_door
from fl_app.errors import UsageError
from fl_app.federation import Federation, find_federation
from fl_app.loggers import progress_console
from fl_app.tabular.schema import CombinedSchema, Schema, combine


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
    published = open_door("modeller.schemas")(names, federation, timeout)
    return [published[name].schema for name in names]
