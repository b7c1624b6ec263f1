"""Run the tests that touch Flower under the oldest and the newest release that pyproject.toml allows.

Each release has an environment of its own in ``build``, with everything else as constraints.txt has it, except what
Flower itself pins. A name of Flower's that has moved is missed by ``tests/client/site/test_flower_names.py`` and the
tests of the gate and of the modeller's client; what those cannot see, the real processes do.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
TESTS = ("tests/client", "tests/server/deployed", "tests/server/superlink", "tests/strategies")
PROCESSES = ("test_warm_pods.py", "test_tls.py", "test_flwr_run.py", "test_launchers.py")
_FREE = ("flwr", "certifi", "uv")
"""What a release of Flower's decides by itself."""


@click.command()
@click.option("--release", "releases", multiple=True, metavar="SPEC", help="Instead of these two, such as ==1.42.0.")
@click.option("--processes/--no-processes", default=True, help="Also run the tests on real processes.")
def main(releases: tuple[str, ...], processes: bool) -> None:
    """Test under the oldest and the newest supported release of Flower."""
    failed = [spec for spec in releases or _ends() if not _passes(spec, processes)]
    if failed:
        raise click.ClickException(f"tests fail under flwr{', flwr'.join(failed)}")


def _ends() -> tuple[str, str]:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    (supported,) = [text.partition("]")[2] for text in dependencies if text.startswith("flwr")]
    (oldest,) = re.findall(r">=([\d.]+)", supported)
    return f"=={oldest}.*", supported


def _passes(spec: str, processes: bool) -> bool:
    place = ROOT / "build" / f"flower{re.sub(r'[^0-9.]+', '-', spec)}"
    python = place / "bin" / "python"
    constraints = place / "constraints.txt"
    subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
    pinned = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    constraints.write_text("\n".join(line for line in pinned if line.partition("==")[0] not in _FREE), "utf-8")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", constraints]
    subprocess.run([*install, f"flwr[simulation]{spec}", "-e", f"{ROOT}[dev]"], check=True)
    subprocess.run([python, "-c", "import flwr; print('flwr', flwr.__version__, flush=True)"], check=True)
    pytest = [python, "-m", "pytest", "-q", "-n", "2"]
    commands = [[*pytest, "-m", "not processes and not mutations", *(ROOT / path for path in TESTS)]]
    if processes:
        commands.append([*pytest, "-m", "processes", *(ROOT / "tests" / "processes" / name for name in PROCESSES)])
    codes = [subprocess.run(command, cwd=ROOT, check=False).returncode for command in commands]
    return not any(codes)


if __name__ == "__main__":
    main()
