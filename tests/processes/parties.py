"""Operator, pods and modeller as real processes on loopback, each with a directory and a HOME of its own."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.ports import free_port

SCRIPTS = Path(sysconfig.get_path("scripts"))
CENSUS = ("census-income-demo-dataset", "census-income-yaml-demo-dataset")

# Run by every Python of a party at its start: notes each file the process opens, by process id.
AUDIT = """
import os, sys
if "FL_APP_TEST_AUDIT" in os.environ:
    _out = open(os.path.join(os.environ["FL_APP_TEST_AUDIT"], f"{os.getpid()}.opened"), "a", buffering=1)
    _out.write("# " + " ".join(sys.argv) + "\\n")
    def _hook(event, arguments):
        if event == "open" and isinstance(arguments[0], (str, bytes)):
            _out.write(os.fsdecode(arguments[0]) + "\\n")
    sys.addaudithook(_hook)
"""


def wait_for(what: str, seconds: float, true: object) -> None:
    deadline = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"{what}: not within {seconds} seconds"
        time.sleep(0.1)


@dataclass
class Party:
    """Somebody with a directory, a HOME and no part in anybody else's."""

    directory: Path
    extra: dict[str, str] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True)

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("FL_APP", "FLWR", "PYTHON"))}
        path = f"{SCRIPTS}{os.pathsep}{kept.get('PATH', os.defpath)}"
        return {**kept, "PATH": path, "HOME": str(self.directory), "FLWR_TELEMETRY_ENABLED": "0", **self.extra}

    def run(self, *command: str, timeout: float = 120, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(SCRIPTS / command[0]), *command[1:]],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stderr}\n{done.stdout}"
        return done

    def start(self, *command: str, log: str = "log") -> subprocess.Popen[bytes]:
        with (self.directory / log).open("ab") as output:
            process = subprocess.Popen(
                [str(SCRIPTS / command[0]), *command[1:]],
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def log(self, name: str = "log") -> str:
        path = self.directory / name
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)


@dataclass
class Parties:
    """An operator's SuperLink, pods, and a modeller."""

    root: Path
    operator: Party
    modeller: Party
    pods: dict[str, Party]
    address: str
    since: float = 0.0
    database: bool = False

    def start_superlink(self) -> subprocess.Popen[bytes]:
        """Start the operator's SuperLink, anew or again; with a database it knows its runs and pods still."""
        port = self.address.rpartition(":")[2]
        kept = ["--database", str(self.operator.directory / "state.db")] if self.database else []
        options = ["--insecure", "--host", "127.0.0.1", "--port", port, "--isolation", "process", *kept]
        started = self.operator.start("flower-superlink", *options)
        wait_for("the SuperLink", 120, lambda: _answers(int(port)))
        return started

    def start_pod(self, name: str) -> subprocess.Popen[bytes]:
        party = self.pods[name]
        before = party.log().count("is online")
        started = party.start("fl-app", "pod", "run", pod_file(party, name), "--superlink", self.address, "--insecure")
        wait_for(f"pod {name}", 60, lambda: party.log().count("is online") > before)
        return started

    def kill_pod(self, name: str) -> None:
        """SIGKILL everything of a pod: its SuperNode, and whatever process of the app it has running."""
        for line in self.left_behind(self.pods[name].directory):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(line.split()[0]), signal.SIGKILL)

    def fit(self, *arguments: str, timeout: float = 400, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.modeller.run(
            "fl-app", "fit", "--federation", "test", "--target", "TARGET", *arguments, timeout=timeout, check=check
        )

    def results(self) -> dict[str, object]:
        return json.loads((self.modeller.directory / "runs" / "latest" / "results.json").read_text())  # type: ignore[no-any-return]

    def left_behind(self, place: Path | None = None) -> list[str]:
        """Return what still runs in ``place`` (default all parties') or names it."""
        return left_behind(place or self.root)


def left_behind(place: Path) -> list[str]:
    """Return process id and command line of what still runs in ``place`` or names it."""
    found, root = [], str(place)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                where = os.readlink(entry / "cwd")
                if root in line or where.startswith(root):
                    found.append(f"{entry.name} {line}")
    return found


def pod_file(party: Party, name: str) -> str:
    census = party.directory / ".fl-app" / "census"
    python, own = census / f"{name.replace('-', '_')}.py", party.directory / f"{name}.yaml"
    return str(next(path for path in (own, python, census / f"{name}.yaml") if path.exists()))


def census_pods(made: "Parties") -> None:
    """Give each census pod its half of the demonstration, and none of its keys."""
    for party in made.pods.values():
        party.run("fl-app", "demo", "--prepare")
        for other in (party.directory / ".fl-app" / "pods").iterdir():
            (other / "identity.key").unlink()
        (party.directory / ".fl-app" / "known_pods").unlink()


@contextlib.contextmanager
def parties(
    root: Path,
    names: Sequence[str] = CENSUS,
    furnish: Callable[["Parties"], None] = census_pods,
    *,
    audit: bool = False,
    database: bool = False,
) -> Iterator[Parties]:
    """Start an operator's SuperLink; pods have keys, know each other, and are started by the test."""
    port = free_port()
    extra: dict[str, str] = {}
    if audit:
        hooks = root / "hooks"
        hooks.mkdir(parents=True)
        (hooks / "sitecustomize.py").write_text(AUDIT)
        (root / "opened").mkdir()
        extra = {"PYTHONPATH": str(hooks), "FL_APP_TEST_AUDIT": str(root / "opened")}
    operator, modeller = Party(root / "operator"), Party(root / "modeller", extra)
    made = Parties(
        root, operator, modeller, {n: Party(root / n) for n in names}, f"127.0.0.1:{port}", database=database
    )
    try:
        furnish(made)
        for name, party in made.pods.items():
            (party.directory / "key.pub").write_text(party.run("fl-app", "pod", "keygen", name).stdout)
            party.run("fl-app", "pod", "approve-app", name, "--yes")
        for name, party in made.pods.items():
            for other, sender in made.pods.items():
                if other != name:
                    party.run("fl-app", "pod", "approve", other, str(sender.directory / "key.pub"))
        listed = ", ".join(f'"{name}"' for name in made.pods)
        (modeller.directory / "fl-app.toml").write_text(
            f'[federation.test]\nkind = "deployment"\nsuperlink = "{made.address}"\n'
            f"insecure = true\npods = [{listed}]\n"
        )
        made.start_superlink()
        yield made
    finally:
        for party in (*made.pods.values(), made.operator, made.modeller):
            party.stop()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
