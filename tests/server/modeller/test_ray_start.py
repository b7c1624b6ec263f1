import subprocess
import sys
from pathlib import Path

from server.modeller.ray_start import without_agents, without_slow_imports

NODE = "ab" * 28


def test_only_the_command_of_a_raylet_is_changed() -> None:
    command = ["gcs_server", "--node_id=1", "--dashboard_agent_command=agent"]
    assert without_agents(command) == command


def test_a_raylet_starts_no_agents_and_is_told_that_they_listen(tmp_path: Path) -> None:
    command = ["raylet", f"--session_dir={tmp_path}", f"--node_id={NODE}", "--head"]
    agents = ["--dashboard_agent_command=python agent.py", "--runtime_env_agent_command=python main.py"]
    assert without_agents(command + agents) == [
        *command,
        "--dashboard_agent_command=sleep infinity",
        "--runtime_env_agent_command=sleep infinity",
    ]
    told = {path.name: int(path.read_text()) for path in tmp_path.iterdir()}
    assert len(told) == 4
    assert all(NODE in name for name in told)
    assert set(told.values()) == {-1, 1}


def test_what_is_slow_to_import_is_left_out_and_jsonschema_does_without(tmp_path: Path) -> None:
    first = without_slow_imports(tmp_path)
    script = "import jsonschema, sys; print('lark' in sys.modules)"
    environment = {"PYTHONPATH": first}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"
