"""docs/deployment.md, followed word for word: real processes over TLS, each party with its own user and HOME."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes.page import Command, Follower, section, steps
from tests.processes.parties import wait_for
from tests.support.ports import free_port
from tests.support.small_federation import table

pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]
PAGE = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text("utf-8")
KILLED = "hospital-c is killed in round 2"


@pytest.fixture
def follower(tmp_path: Path) -> Iterator[Follower]:
    made = Follower(tmp_path / "page", f"127.0.0.1:{free_port()}", {KILLED: kill_in_round_two})
    try:
        yield made
    finally:
        made.stop()
    assert made.left_behind() == []


def test_two_machines_six_commands(follower: Follower) -> None:
    for seed, name in enumerate(("a", "b")):
        data(follower, f"machine-{name}", f"{name}.csv", seed)
    follower.follow(section(PAGE, "Two machines, six commands"))
    assert len(follower.commands) <= 6
    machine = follower.person("machine-a").directory
    assert results(machine)["status"] == "completed"
    assert (machine / "runs" / "latest" / "model.safetensors").exists()
    assert not list(follower.person("machine-b").directory.rglob("model.*"))


def test_every_party_on_its_own(follower: Follower) -> None:
    for seed, name in enumerate(("a", "b", "c")):
        data(follower, f"hospital-{name}", "data.csv", seed)
    follower.follow(section(PAGE, "Every party on its own"))
    modeller = follower.person("modeller").directory
    done = results(modeller)
    assert done["status"] == "completed"
    assert len(done["rounds"]) == 3
    assert not list(follower.person("operator").directory.rglob("model.*"))
    assert not list(follower.person("operator").directory.rglob("results.json"))
    users = {person.user for person in follower.people.values()}
    assert len(users) == (5 if follower.separate else 1)


def test_the_page_has_what_the_follower_looks_for() -> None:
    commands = [step for step in steps(PAGE) if isinstance(step, Command)]
    assert {"keeps running", "refused", "interrupted", ""} == {command.verb for command in commands}
    assert any(command.said == KILLED for command in commands)


def data(follower: Follower, party: str, name: str, seed: int) -> None:
    file = follower.root / name
    table(3000, seed).to_csv(file, index=False)
    follower.person(party).take(file)


def results(place: Path) -> dict[str, object]:
    return json.loads((place / "runs" / "latest" / "results.json").read_text())  # type: ignore[no-any-return]


def kill_in_round_two(follower: Follower) -> None:
    place = follower.person("modeller").directory

    def in_round_two() -> bool:
        try:
            step: Any = results(place)["step"]
            return (step["name"], step["round"]) == ("train", 2)
        except (OSError, ValueError, LookupError, TypeError):
            return False

    wait_for("round 2", 200, in_round_two)
    follower.kill("hospital-c")
