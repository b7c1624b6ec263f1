"""The units and the compose file: well-formed, and their commands are commands of this product."""

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fl_app.cli import group

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
METRIC = re.compile(r"fl_app_superlink_\w+")
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SERVICES: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]


def unit(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text("utf-8"))
    return parser


def commands() -> list[list[str]]:
    units = [shlex.split(unit(path)["Service"]["ExecStart"])[1:] for path in UNITS]
    services = [service["command"] for service in SERVICES.values()]
    health = [service["healthcheck"]["test"][2:] for service in SERVICES.values()]
    return [*units, *services, *health]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_is_one_of_ours_with_options_it_has(command: list[str]) -> None:
    found: Any = group
    words = list(command)
    while hasattr(found, "get_command") and not words[0].startswith("--"):
        found = found.get_command(None, words.pop(0))
        assert found is not None, command
    known = {name for parameter in found.params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_the_compose_file_keeps_to_its_schema() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*check, str(DEPLOY / "compose.yaml")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_services_have_tags_health_checks_volumes_and_few_rights() -> None:
    for service in SERVICES.values():
        assert not service["image"].endswith(":latest")
        assert ":" in service["image"]
        assert service["volumes"]
        assert service["healthcheck"]["test"][:2] == ["CMD", "fl-app"]
        assert service["cap_drop"] == ["ALL"]


def test_the_dashboard_asks_for_metrics_that_the_operators_hub_has() -> None:
    board = json.loads((DEPLOY / "grafana" / "fl-app-superlink.json").read_text("utf-8"))
    asked = {name for panel in board["panels"] for one in panel["targets"] for name in METRIC.findall(one["expr"])}
    listed = set(METRIC.findall((ROOT / "docs" / "reference" / "metrics.md").read_text("utf-8")))
    assert asked
    assert asked <= listed
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_takes_the_units(path: Path, tmp_path: Path) -> None:
    text = path.read_text("utf-8").replace("/opt/fl-app/bin/fl-app", shutil.which("true") or "/bin/true")
    text = text.replace("User=fl-app", "User=root").replace("Group=fl-app", "Group=root")
    copy = tmp_path / path.name.replace("@.", "@x.")
    copy.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_start_again_end_in_time_and_write_where_they_must_only(path: Path) -> None:
    service = unit(path)["Service"]
    assert service["Restart"] == "on-failure"
    assert service["ProtectSystem"] == "strict"
    assert service["ReadWritePaths"].startswith("/var/lib/fl-app/")
    assert service["User"] != "root"
    assert int(service["LimitNOFILE"]) >= 65536  # a SuperLink holds a connection of each pod, and has many in a row
