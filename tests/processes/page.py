"""Following a page of the documentation: its commands as they stand there, each by the party that it names.

A fenced block ``sh PARTY`` holds commands, one a line; ``text handover`` says which files change hands. What a command
is to do stands in a comment behind it: ``# keeps running; says: TEXT``, ``# refused: TEXT``, ``# interrupted: ...``.
Everything else must end with exit code 0.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.processes.parties import SCRIPTS, wait_for
from tests.processes.users import FIRST_USER, as_user, can_change_user

PAGE_ADDRESS = "fl.example.org:8123"
_BLOCK = re.compile(r"^```(sh|text) ([a-z0-9-]+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_WAIT = 120.0


@dataclass(frozen=True)
class Command:
    """One line of the page."""

    party: str
    text: str
    verb: str = ""  # "keeps running", "refused", "interrupted", or nothing special
    said: str = ""


@dataclass(frozen=True)
class Handover:
    """One file that goes from one party to others."""

    giver: str
    file: str
    takers: tuple[str, ...]


def steps(page: str) -> Iterator[Command | Handover]:
    """Yield what the page tells people to do, in its order."""
    for language, who, text in _BLOCK.findall(page):
        for line in filter(None, map(str.strip, text.splitlines())):
            if language == "sh":
                yield _command(who, line)
            elif who == "handover":
                giver, rest = line.split(": ", 1)
                file, takers = rest.split(" -> ")
                yield Handover(giver, file, tuple(takers.split(", ")))


def _command(party: str, line: str) -> Command:
    text, _, note = line.partition("  # ")
    verb, _, said = note.partition(": ")
    return Command(party, text, verb.removesuffix("; says"), said)


def section(page: str, title: str) -> str:
    """Return one section (``## title``) of a page."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


@dataclass
class Person:
    """A party with a directory, a HOME and, where the tests run as root, a Unix user of its own."""

    directory: Path
    user: int | None = None
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True)
        (self.directory / "home").mkdir()
        if self.user is not None:
            for place in (self.directory, self.directory / "home"):
                os.chown(place, self.user, self.user)
                place.chmod(0o700)

    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("FL_APP", "FLWR", "PYTHON"))}
        path = f"{SCRIPTS}{os.pathsep}{kept.get('PATH', os.defpath)}"
        home = str(self.directory / "home")
        return {**kept, "PATH": path, "HOME": home, "TMPDIR": home, "PYTHONDONTWRITEBYTECODE": "1"}

    def start(self, text: str, log: Path) -> subprocess.Popen[bytes]:
        command = ["/bin/sh", "-c", f"exec {text}"]
        if self.user is not None:
            command = [*as_user(self.user, [self.directory.parent]), *command]
        with log.open("ab") as output:
            return subprocess.Popen(
                command,
                cwd=self.directory,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def take(self, file: Path) -> None:
        """Be handed a file, by its name."""
        taken = self.directory / file.name
        shutil.copyfile(file, taken)
        if self.user is not None:
            os.chown(taken, self.user, self.user)


class Follower:
    """Does what a page says, with real processes.

    Parameters
    ----------
    root
        Directory for the parties and the output of their commands.
    address
        What stands in the place of the page's address.
    interrupts
        What to do while a command marked ``interrupted`` runs, by the note on the page.
    """

    def __init__(self, root: Path, address: str, interrupts: Mapping[str, Callable[["Follower"], None]]) -> None:
        self.root, self.address, self.interrupts = root, address, interrupts
        self.people: dict[str, Person] = {}
        self.commands: list[Command] = []
        root.mkdir(parents=True, exist_ok=True)
        root.chmod(0o755)
        self.separate = can_change_user([root])

    def person(self, name: str) -> Person:
        """Return a party, made when it is first named."""
        if name not in self.people:
            user = FIRST_USER + len(self.people) if self.separate else None
            self.people[name] = Person(self.root / name, user)
        return self.people[name]

    def follow(self, page: str) -> None:
        """Do all that ``page`` says."""
        for step in steps(page):
            if isinstance(step, Handover):
                for taker in step.takers:
                    self.person(taker).take(self.person(step.giver).directory / step.file)
            else:
                self.commands.append(step)
                self._carry_out(step)

    def _carry_out(self, command: Command) -> None:
        person = self.person(command.party)
        text = command.text.replace(PAGE_ADDRESS, self.address)
        log = self.root / f"{command.party}.{len(self.commands):02d}.log"
        process = person.start(text, log)
        if command.verb == "keeps running":
            person.running[text] = process
            wait_for(f"{text}: {command.said}", _WAIT, lambda: command.said in _said(log) or _ended(process, log))
            return
        try:
            if command.verb == "interrupted":
                self.interrupts[command.said](self)
            code = process.wait(_WAIT * 3)
        finally:
            _end(process)
        if command.verb:
            assert code != 0, f"{text}: should not have gone through\n{_said(log)}"
            assert "Traceback" not in _said(log), _said(log)
        else:
            assert code == 0, f"{text}: exit code {code}\n{_said(log)}"
        if command.verb == "refused":
            assert command.said in _said(log), f"{text}: {command.said}\n{_said(log)}"

    def kill(self, party: str) -> None:
        """SIGKILL everything that a party has running."""
        for process in self.person(party).running.values():
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit() and self._belongs(entry, party):
                    _kill(int(entry.name))
            process.wait(20)
        self.person(party).running.clear()

    def stop(self) -> None:
        """End what keeps running, in the way a service manager would."""
        for person in self.people.values():
            for process in person.running.values():
                process.terminate()
        for person in self.people.values():
            for process in person.running.values():
                _end(process)

    def left_behind(self) -> list[str]:
        """Return what still runs in any party's directory, or names it."""
        return [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit() and self._belongs(entry, "")]

    def _belongs(self, entry: Path, party: str) -> bool:
        place = str(self.root / party) if party else str(self.root)
        try:
            line = (entry / "cmdline").read_bytes().decode(errors="replace")
            return int(entry.name) != os.getpid() and (place in line or os.readlink(entry / "cwd").startswith(place))
        except OSError:
            return False


def _said(log: Path) -> str:
    return re.sub(r"\s+", " ", log.read_text("utf-8", "replace"))


def _ended(process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, f"it ended with exit code {process.returncode}\n{_said(log)}"
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
        process.terminate()
    _kill(process.pid)
    process.wait(10)


def _kill(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
