"""What may stand between a modeller and a federation: the SuperLink, its certificate, the clocks, the key."""

from collections.abc import Iterator

from fl_app.errors import FlAppError
from fl_app.federation import DeployedFederation, Federation
from fl_app.findings import Finding
from fl_app.pods import load_pod
from fl_app.superlink import look_at_superlink


def examine_federation(federation: Federation) -> Iterator[Finding]:
    """Look at what a run over ``federation`` needs; nothing is started or changed."""
    if not isinstance(federation, DeployedFederation):
        for path in federation.pods:
            try:
                yield Finding("pod", True, f"{load_pod(path).name}, in {path}")
            except FlAppError as error:
                yield Finding("pod", False, str(error))
        return
    reached = False
    for finding in look_at_superlink(federation):
        reached = reached or (finding.about == "SuperLink" and finding.ok)
        yield finding
    if reached:
        yield _admission(federation)


def _admission(federation: DeployedFederation) -> Finding:
    from server.deployment import list_runs

    try:
        list_runs(federation)
    except FlAppError as error:
        return Finding("modeller", False, str(error))
    return Finding("modeller", True, "the SuperLink takes questions from this modeller")
