"""Doing what a page says: its blocks in order, in one directory, with a HOME of its own."""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fl_app.federation.kinds import read_federation
from fl_app.pod.pod_file import load_pod
from tests.pages.blocks import ROOT, Block, blocks_of
from tests.processes.parties import SCRIPTS

_SECONDS = 600.0
_PLACEHOLDER = "<this repository>"


@dataclass
class Walk:
    """Somebody who follows pages.

    Attributes
    ----------
    directory : where the next block runs; a block's ``cd`` moves it.
    home : HOME, for keys and ledgers.
    environment : variables besides.
    """

    directory: Path
    home: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def follow(self, page: str) -> None:
        """Do all that a page says, but for what is run elsewhere or not at all."""
        for block in blocks_of(page):
            if not {"run in", "not run"} & block.notes.keys():
                self._carry_out(block)

    def _carry_out(self, block: Block) -> None:
        if name := block.notes.get("file"):
            (self.directory / name).write_text(block.text)
        match block.language:
            case "sh":
                self._shell(block)
            case "python" if "file" in block.notes:
                compile(block.text, block.place, "exec")
            case "python":
                self._run(block, [sys.executable, "-c", block.text])
            case "toml" | "yaml":
                self._read(block)

    def _read(self, block: Block) -> None:
        """Have a block read by the code that reads such files: every federation of a toml, the pod of a yaml."""
        with tempfile.TemporaryDirectory() as place:
            file = Path(place) / f"block.{block.language}"
            file.write_text(block.text)
            if block.language == "yaml":
                load_pod(file)
                return
            for line in block.text.splitlines():
                if line.startswith("[federation."):
                    read_federation(file, line.partition(".")[2].partition("]")[0])

    def _shell(self, block: Block) -> None:
        there = self.home / "directory"
        script = block.text.replace(_PLACEHOLDER, shlex.quote(str(ROOT)))
        self._run(block, ["/bin/bash", "-euo", "pipefail", "-c", f"{script}\npwd > {shlex.quote(str(there))}"])
        self.directory = Path(there.read_text().strip())

    def _run(self, block: Block, command: list[str]) -> None:
        inherited = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TMPDIR") if name in os.environ}
        path = f"{SCRIPTS}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        environment = {**inherited, "PATH": path, "HOME": str(self.home), "NO_COLOR": "1", **self.environment}
        process = subprocess.Popen(
            command,
            cwd=self.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=_SECONDS)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
        assert process.returncode == 0, f"{block.place}: exit code {process.returncode}\n{block.text}\n{output}"
