"""What may be wrong with an installation, found without importing anything heavy and without changing anything."""

import os
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import psutil
from packaging.requirements import Requirement

from fl_app.federation.config_file import FILE_NAME
from fl_app.federation.kinds import Federation
from fl_app.host.findings import Finding
from fl_app.host.processes import flower_environment
from fl_app.identity.key_file import KEY_FILE
from fl_app.system.home import KNOWN_PODS_FILE, LEDGER_FILE, PODS_DIRECTORY, fl_app_home
from server.doctor.federation_checks import examine_federation

_COMMANDS = ("flwr", "flower-superlink", "flower-superexec", "flower-supernode")
_WORKERS = {"flower-superexec", "flwr-serverapp", "flwr-clientapp"}
_SECRET, _WRITABLE = 0o077, 0o022
_FREE = 2**30
_LOCAL_PORT = 39091
"""Where Flower's own local SuperLink listens, which `flwr run` starts and leaves."""


def examine(directory: Path, federation: Federation | None = None) -> list[Finding]:
    """Look at the installation, at ``$FL_APP_HOME``, at ``directory``, where runs would go, and at a federation."""
    home = fl_app_home()
    findings = [*_packages(), *_commands(), *_permissions(home), _demo(home), _local_superlink(directory)]
    findings += [_left_behind(), *_disk(home)]
    return findings if federation is None else [*findings, *examine_federation(federation)]


def _packages() -> Iterator[Finding]:
    yield Finding("python", sys.version_info >= (3, 11), sys.version.partition(" ")[0])
    try:
        needed = [Requirement(text) for text in requires("fl-app") or ()]
    except PackageNotFoundError:
        yield Finding("fl-app", False, "is not installed: pip install -e . in its directory")
        return
    for requirement in (*needed, Requirement("ray")):  # ray comes with flwr's extra
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            yield Finding(requirement.name, False, "is not installed: pip install fl-app")
            continue
        fits = requirement.specifier.contains(installed, prereleases=True)
        advice = "" if fits else f", but {requirement.specifier} is needed: pip install '{requirement}'"
        yield Finding(requirement.name, fits, f"{installed}{advice}")


def _commands() -> Iterator[Finding]:
    path = flower_environment({})["PATH"]
    missing = [name for name in _COMMANDS if shutil.which(name, path=path) is None]
    text = f"not found: {', '.join(missing)}; pip install 'flwr[simulation]'" if missing else "found"
    yield Finding("Flower's commands", not missing, text)


def _permissions(home: Path) -> Iterator[Finding]:
    if not home.exists():
        yield Finding("home", True, f"{home} is not there yet")
        return
    pods = list((home / PODS_DIRECTORY).glob("*"))
    secrets = [*pods, *(pod / name for pod in pods for name in (KEY_FILE, LEDGER_FILE) if (pod / name).exists())]
    known = [path for path in (home, home / KNOWN_PODS_FILE) if path.exists()]
    faults = [
        f"others may {may} {path} (mode {mode:04o}): chmod {how} {path}"
        for paths, bits, may, how in ((secrets, _SECRET, "read or change", "go="), (known, _WRITABLE, "change", "go-w"))
        for path in paths
        if (mode := stat.S_IMODE(path.stat().st_mode)) & bits
    ]
    for fault in faults:
        yield Finding("home", False, fault)
    if not faults:
        yield Finding("home", True, f"{home}, closed to others")


def _demo(home: Path) -> Finding:
    laid_out = (home / "census" / FILE_NAME).exists()
    return Finding("demonstration", True, "laid out" if laid_out else "not laid out yet; `fl-app demo` does it")


def _local_superlink(directory: Path) -> Finding:
    """Tell of a SuperLink that `flwr run` has left behind: it goes on with the directory it was started in."""
    about, port = "Flower's local SuperLink", int(os.environ.get("FLWR_LOCAL_SUPERLINK_HTTP_API_PORT", _LOCAL_PORT))
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex(("127.0.0.1", port)) != 0:
            return Finding(about, True, "not running")
    for process, place in _superlinks(port):
        if place == directory.resolve():
            return Finding(about, True, f"running on port {port}, started in this directory")
        return Finding(
            about,
            False,
            f"process {process} on port {port} was started in {place}, and `flwr run` would use that directory and its "
            f"environment: kill {process}",
        )
    return Finding(about, False, f"something else listens on port {port}, and `flwr run` would take it for a SuperLink")


def _superlinks(port: int) -> Iterator[tuple[int, Path]]:
    """Yield the process and the working directory of every local SuperLink on ``port`` that this user may inspect."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words, cwd = process.info["cmdline"] or [], process.info["cwd"]
        if cwd and str(port) in words and any("flower-superlink" in word for word in words):
            yield process.pid, Path(cwd)


def _left_behind() -> Finding:
    """Report this user's Flower workers whose parent has gone: they take up runs that are not theirs."""
    stale = [
        process.pid for process in psutil.process_iter(["cmdline", "ppid", "uids"]) if _is_orphaned_worker(process)
    ]
    if not stale:
        return Finding("processes", True, "none left behind")
    return Finding("processes", False, f"left behind by what started them: kill {' '.join(map(str, sorted(stale)))}")


def _is_orphaned_worker(process: psutil.Process) -> bool:
    words, uids = process.info["cmdline"] or [], process.info["uids"]
    orphaned = process.info["ppid"] == 1 and uids is not None and uids.effective == os.getuid()
    return orphaned and not _WORKERS.isdisjoint(Path(word).name for word in words[:3])


def _disk(home: Path) -> Iterator[Finding]:
    for place in _distinct([Path.cwd(), home if home.exists() else home.parent, Path(tempfile.gettempdir())]):
        free = shutil.disk_usage(place).free
        advice = "" if free >= _FREE else ": less than 1 GB, a run may fail"
        yield Finding("disk", free >= _FREE, f"{free / 2**30:.1f} GB free at {place}{advice}")


def _distinct(places: Iterable[Path]) -> list[Path]:
    """Return one place for each file system."""
    return list({place.stat().st_dev: place for place in places if place.exists()}.values())
