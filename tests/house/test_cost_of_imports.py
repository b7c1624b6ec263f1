"""What a process loads: torch where a network is, pandas where a table is read (commands: `tests.fl_app.test_cli`)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.source import ROOT

PROBE = """
import json, sys
from benchmarks.__main__ import bench
try:
    bench(sys.argv[1:])
except SystemExit:
    pass
print("\\n" + json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def loaded_by(directory: Path, *arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments],
        capture_output=True,
        text=True,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        timeout=200,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments",
    [
        ["core", "--elements", "1000", "--pods", "10", "--repeats", "1", "--json"],
        ["wire", "--elements", "1000", "--pods", "2", "--json"],
        ["memory", "--elements", "1000", "--pods", "2", "--json"],
    ],
    ids=" ".join,
)
def test_measuring_does_not_load_torch(arguments: list[str], tmp_path: Path) -> None:
    assert "torch" not in loaded_by(tmp_path, *arguments)


def test_the_probe_would_see_torch(tmp_path: Path) -> None:
    script = "import json, sys, torch; print(json.dumps(sorted(n.partition('.')[0] for n in sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "torch" in json.loads(done.stdout)


@pytest.mark.parametrize("package", ["torch", "pandas", "sklearn"])
def test_a_step_of_the_protocol_needs_no_heavy_package(package: str, tmp_path: Path) -> None:
    """Hello, roster, unmasking and statistics are answered by processes of their own: torch would cost each seconds."""
    script = f"import sys, client.app.main, server.app.main; print({package!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("package", ["pandas", "sklearn"])
def test_training_on_encoded_rows_loads_torch_and_little_else(package: str, tmp_path: Path) -> None:
    script = f"import sys, fl_app.tabular.training, fl_app.tabular.network; print({package!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.strip() == "False"


def test_a_model_in_onnx_is_scored_without_torch(tmp_path: Path) -> None:
    script = "import sys, server.exports.formats, server.exports.onnx, server.exports.unseen, fl_app.tabular.table_file"
    script += "; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.strip() == "False"


def test_a_deployed_run_s_process_starts_without_torch_and_the_superlink_s_database(tmp_path: Path) -> None:
    """`fl-app pods` needs none of it, and a run that trains imports torch while the pods answer the hello."""
    script = """
import json, sys
from server.deployed.serverapp import TaskProcess
from server.deployed.superlink_client import SuperLinkClient
client = SuperLinkClient("127.0.0.1:1", insecure=True, root_certificates=None)
TaskProcess(client, "127.0.0.1:1", insecure=True, app=None).import_ahead()
print(json.dumps(sorted(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    loaded = json.loads(done.stdout)
    assert {"flwr.superlink.grid.http_grid", "server.app.main", "strategies.discovery"} <= set(loaded)
    heavy = {"torch", "pandas", "sklearn", "sqlalchemy", "alembic", "ray", "flwr.cli.build"}
    assert not heavy & set(loaded)


def test_a_message_that_reads_a_table_imports_nothing_more(tmp_path: Path) -> None:
    """What the waiting process of a pod has not imported, each fork would: pandas takes a third of a second.

    pyarrow's own small modules are left out: which there are is its affair.
    """
    script = """
import sys
from pathlib import Path
from client.app.main import preload
preload()
before = set(sys.modules)
from client.app.pod_table import PodTable
from fl_app.pod.definition import CSVSource, Pod
Path("t.csv").write_text("age,city,when\\n" + "31,Ghent,2024-01-05\\n,Lyon,\\n" * 200)
PodTable.of(Pod(name="a", datasource=CSVSource(path="t.csv"))).schema()
print(sorted({name.partition(".")[0] for name in set(sys.modules) - before} - {"client", "fl_app", "pyarrow"}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.strip() == "[]"
