"""Operator, pods and modeller as real processes on loopback, each with a directory and a HOME of its own.

What they have of each other before anything runs (keys, cards, approvals) is made here by the library, as the commands
make it: those are carried out by `test_tls`, by `test_guard` and by who follows the documentation, `page`.
"""

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
from functools import cache
from pathlib import Path

from client.site.approved_apps import Apps
from fl_app.host.bundle import build
from fl_app.host.party_keys import modeller_card, pod_card
from fl_app.identity.known_pods import Keyring, known_pods
from fl_app.system.home import pod_home
from server.superlink.directory import SuperLinkDirectory
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
    insecure: bool = False

    def start_superlink(self) -> None:
        """Start the operator's SuperLink, anew or again; one with a gate knows its runs and pods still."""
        if self.insecure:
            port = self.address.rpartition(":")[2]
            options = ["--insecure", "--host", "127.0.0.1", "--port", port, "--isolation", "process"]
            self.operator.start("flower-superlink", *options)
            wait_for("the SuperLink", 120, lambda: _answers(int(port)))
        else:
            before = self.operator.log().count("SuperLink serves")
            self.operator.start("fl-app", "superlink", "run", "superlink")
            wait_for("the SuperLink", 120, lambda: self.operator.log().count("SuperLink serves") > before)

    def kill_superlink(self) -> None:
        """SIGKILL everything of the operator."""
        self._kill(self.operator)
        self.operator.processes[-1].wait(10)

    def start_pods(self, *names: str) -> None:
        """Start pods (default all), and wait until they are online."""
        before = {name: self.pods[name].log().count("is online") for name in names or self.pods}
        where = ("--superlink", self.address, "--insecure") if self.insecure else ("--federation", "federation.toml")
        for name in before:
            self.pods[name].start("fl-app", "pod", "run", pod_file(self.pods[name], name), *where)
        for name, times in before.items():
            party = self.pods[name]
            wait_for(f"pod {name}", 60, lambda party=party, times=times: party.log().count("is online") > times)

    def kill_pod(self, name: str) -> None:
        """SIGKILL everything of a pod: its SuperNode, and whatever process of the app it has running."""
        self._kill(self.pods[name])

    def _kill(self, party: Party) -> None:
        for line in self.left_behind(party.directory):
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
    insecure: bool = False,
) -> Iterator[Parties]:
    """Start an operator's SuperLink; pods have keys, know each other, and are started by the test.

    The SuperLink is the product's, over TLS and with its gate; ``insecure``, it is Flower's own, without either.
    """
    address = f"127.0.0.1:{free_port()}"
    extra: dict[str, str] = {}
    if audit:
        hooks = root / "hooks"
        hooks.mkdir(parents=True)
        (hooks / "sitecustomize.py").write_text(AUDIT)
        (root / "opened").mkdir()
        extra = {"PYTHONPATH": str(hooks), "FL_APP_TEST_AUDIT": str(root / "opened")}
    operator, modeller = Party(root / "operator"), Party(root / "modeller", extra)
    made = Parties(root, operator, modeller, {n: Party(root / n) for n in names}, address, insecure=insecure)
    try:
        furnish(made)
        _introduce(made)
        made.start_superlink()
        yield made
    finally:
        for party in (*made.pods.values(), made.operator, made.modeller):
            party.stop()


@cache
def bundle() -> bytes:
    """Return the app's bundle, as `fl-app pod approve-app` approves it."""
    return build()


def _introduce(made: Parties) -> None:
    """Have the pods know and approve each other and the app, and the operator and the modeller know the pods."""
    homes = {name: party.directory / ".fl-app" for name, party in made.pods.items()}
    cards = {name: pod_card(name, home) for name, home in homes.items()}
    for name, home in homes.items():
        Apps(pod_home(name, home)).approve(bundle())
        for other, card in cards.items():
            Keyring.load(known_pods(home)).add(other, card.key)
    if made.insecure:
        listed = ", ".join(f'"{name}"' for name in made.pods)
        joined = (
            f'[federation.test]\nkind = "deployment"\nsuperlink = "{made.address}"\n'
            f"insecure = true\npods = [{listed}]\n"
        )
    else:
        superlink = SuperLinkDirectory.provision(made.operator.directory / "superlink", made.address, "test")
        superlink.registry.add([*cards.values(), modeller_card("ada", made.modeller.directory / ".fl-app")])
        superlink.write_join_file()
        joined = superlink.join_file.read_text()
        for party in made.pods.values():
            (party.directory / "federation.toml").write_text(joined)
    (made.modeller.directory / "fl-app.toml").write_text(joined)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
