"""Checks of what a run over a federation needs: the SuperLink, its certificate, the clocks, the modeller's key."""

from collections.abc import Iterator
from pathlib import Path

from fl_app.errors import FlAppError
from fl_app.federation.kinds import DeployedFederation, Federation, SimulatedFederation
from fl_app.host.findings import Finding
from fl_app.host.probe import check_superlink
from fl_app.pod.pod_file import load_pod


def examine_federation(federation: Federation) -> Iterator[Finding]:
    """Check what a run over ``federation`` needs, without starting or changing anything."""
    if isinstance(federation, SimulatedFederation):
        yield from map(_pod, federation.pods)
    elif isinstance(federation, DeployedFederation):
        reached = False
        for finding in check_superlink(federation):
            reached = reached or (finding.about == "SuperLink" and finding.ok)
            yield finding
        if reached:
            yield _admission(federation)


def _pod(path: Path) -> Finding:
    try:
        return Finding("pod", True, f"{load_pod(path).name}, in {path}")
    except FlAppError as error:
        return Finding("pod", False, str(error))


def _admission(federation: DeployedFederation) -> Finding:
    from server.deployed.deployed_run import check_admission

    try:
        check_admission(federation)
    except FlAppError as error:
        return Finding("modeller", False, str(error))
    return Finding("modeller", True, "the SuperLink admits this modeller")
