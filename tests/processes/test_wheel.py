"""The installed wheel, in an empty directory, without the repository."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.processes.parties import Party

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
RUN = "import fl_app, sys; sys.stderr.write(fl_app.__file__ + '\\n'); from fl_app.cli import main; main()"


def test_the_demonstration_runs_from_the_wheel(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    subprocess.run([*build, str(copy_of_the_project(tmp_path))], check=True, timeout=200, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    assert not list(installed.glob("tests*"))
    user = Party(tmp_path / "user", {"PYTHONPATH": str(installed)})
    done = subprocess.run(
        [sys.executable, "-P", "-c", RUN, "demo", "--rounds", "1", "--local-steps", "20", "--json"],
        cwd=user.directory,
        env=user.environment,
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(str(installed))
    results = json.loads(done.stdout)
    assert results["status"] == "completed"
    assert results["test"]["auc"] > 0.8
    assert sorted(path.name for path in user.directory.iterdir() if path.name != ".cache") == [".fl-app", "runs"]


def copy_of_the_project(parent: Path) -> Path:
    """Return a copy of what git tracks, so that building leaves nothing in the repository."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    copy = parent / "project"
    for name in listed.stdout.splitlines():
        source, target = ROOT / name, copy / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    return copy
