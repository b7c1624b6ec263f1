"""The bundle that a run submits, whose hash every pod's owner approves, changes with what runs at a pod or in a sum."""

import hashlib
import io
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fl_app.host.bundle import build
from tests.house.source import ROOT, closure, module_name
from tests.house.test_imports import UPWARD

STAYS = (
    "server/display/report/style.py",
    "server/display/report/page.html.j2",
    "server/commands/fit.py",
    "server/commands/provision.py",
    "server/superlink/directory.py",
    "server/modeller/classifier.py",
    "server/exports/onnx.py",
    "client/commands/check.py",
    "client/site/pod_template.py",
    "client/site/app_guard.py",
    "fl_app/cli.py",
    "fl_app/host/processes.py",
    "benchmarks/core.py",
)
"""A report's style, a command's help, the provisioner, a benchmark and the like."""
TRAVELS = ("client/app/owner.py", "server/app/main.py", "fl_app/secagg/masking.py", "strategies/steps.py")
PROGRAM = "import hashlib, fl_app.host.bundle as b; print(b.__file__); print(hashlib.sha256(b.build()).hexdigest())"


def test_the_bundle_is_what_the_two_apps_import_and_nothing_more() -> None:
    needed = closure(["client.app.main", "server.app.main"], UPWARD)
    with zipfile.ZipFile(io.BytesIO(build())) as bundle:
        names = [name for name in bundle.namelist() if name.endswith(".py")]
    assert {module_name(ROOT / name) for name in names} == needed


@pytest.fixture(scope="module")
def hash_after(tmp_path_factory: pytest.TempPathFactory) -> Callable[[tuple[str, ...]], str]:
    """Say which hash the bundle has, in a copy of the source, once a line was added to each of these files."""

    def hash_with(changed: tuple[str, ...]) -> str:
        copy = tmp_path_factory.mktemp("copy") / "source"
        for part in ("fl_app", "client", "strategies", "server", "benchmarks"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        for name in changed:
            with (copy / name).open("a", encoding="utf-8") as file:
                file.write("\nCHANGED = 1\n")
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], cwd=copy, capture_output=True, text=True, check=True, timeout=120
        )
        where, digest = done.stdout.split()
        assert Path(where).is_relative_to(copy)
        return digest

    return hash_with


def test_what_stays_may_change_and_owners_need_not_approve_again(
    hash_after: Callable[[tuple[str, ...]], str],
) -> None:
    assert hash_after(STAYS) == hash_after(()) == hashlib.sha256(build()).hexdigest()


@pytest.mark.parametrize("name", TRAVELS)
def test_what_travels_changes_the_hash(name: str, hash_after: Callable[[tuple[str, ...]], str]) -> None:
    assert hash_after((name,)) != hashlib.sha256(build()).hexdigest()
