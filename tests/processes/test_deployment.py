"""Real SuperLink, real pods, a real modeller: the same model as in simulation, and nobody opens another's data."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from fl_app.identity.known_pods import keygen
from tests.processes.parties import CENSUS, Parties, Party, parties, pod_file
from tests.support.close import close

pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]
QUICK = ("--rounds", "2", "--local-steps", "20", "--optimizer", "SGD", "--lr", "0.05")


@pytest.mark.simulation
def test_a_deployment_trains_the_model_of_the_simulation(tmp_path: Path) -> None:
    with parties(tmp_path / "dep", audit=True, insecure=True) as made:
        made.start_pods()
        made.fit(*QUICK)
        results = made.results()
        assert results["status"] == "completed"
        _check_messages(results)
        _check_files(made)
        run = made.modeller.directory / "runs" / "latest"
        deployed = load_file(run / "model.safetensors")
        assert not list(made.operator.directory.rglob("model.*")), "a model landed on the operator's host"
        first, again = (_described(made) for _ in range(2))
        assert first == again  # the noise too, which follows from the pods' keys
    assert made.left_behind() == []

    laptop = Party(tmp_path / "laptop")
    _give_keys(made, laptop)
    laptop.run("fl-app", "demo", *QUICK, timeout=300)
    simulated = load_file(laptop.directory / "runs" / "latest" / "model.safetensors")
    assert set(simulated) == set(deployed)
    for name, array in simulated.items():
        np.testing.assert_allclose(deployed[name], array, atol=1e-6)
    final = json.loads((laptop.directory / "runs" / "latest" / "results.json").read_text())["final"]
    wanted: dict[str, Any] = results["final"]  # type: ignore[assignment]
    assert final == close(wanted, abs=1e-6)


def _described(made: Parties) -> object:
    """Describe the pods' tables, of which the census has 32,561 rows, and return the description."""
    done = made.modeller.run("fl-app", "describe", "--federation", "test", "--target", "TARGET", "--json", timeout=200)
    document = json.loads(done.stdout)
    assert set(document["secure_aggregation"]["steps"]) == {"statistics"}
    described = document["description"]
    assert abs(described["rows"] - 32_561) < 6 * described["noise"]["rows"]
    (target,) = (column for column in described["columns"] if column["name"] == "TARGET")
    counts = {entry["value"]: entry["rows"] for entry in target["categories"]}
    assert counts == pytest.approx({"<=50K": 24_720, ">50K": 7_841}, abs=6 * described["noise"]["categories"])
    return described


def _give_keys(made: Parties, laptop: Party) -> None:
    """Simulate the pods of the deployment: the noise of a pod's statistics follows from its identity key."""
    laptop.run("fl-app", "demo", "--prepare")
    home = laptop.directory / ".fl-app"
    (home / "known_pods").unlink()
    for name, pod in made.pods.items():
        key = Path("pods") / name / "identity.key"
        shutil.copy(pod.directory / ".fl-app" / key, home / key)
        keygen(name, home)


def _check_messages(results: dict[str, object]) -> None:
    """With a complete cohort a training round is one message to each pod and back."""
    steps = results["secure_aggregation"]["steps"]  # type: ignore[index]
    messages = {kind: step["messages"] for kind, step in steps.items()}
    assert messages.pop("evaluate") in (2, 4)  # twice, if the first did not give the AUC closely enough
    assert messages == {"statistics": 2, "train": 4}


def _check_files(made: Parties) -> None:
    """The modeller's processes, the ServerApp's among them, opened no file of a pod."""
    opened = {path: path.read_text("utf-8", "replace") for path in (made.root / "opened").glob("*.opened")}
    assert any("checkpoint.npz" in text for text in opened.values()), "the ServerApp was not watched"
    assert sum("torch" in text for text in opened.values()) > 0
    for text in opened.values():
        for name, pod in made.pods.items():
            assert str(pod.directory) not in text
            assert f"{name}.csv.gz" not in text


def test_an_unapproved_pod_and_a_swapped_key_end_the_run_at_once(tmp_path: Path) -> None:
    with parties(tmp_path / "dep") as made:
        first, second = CENSUS
        made.start_pods()
        # The second owner knows the first pod by another key: what a swapped key looks like from there.
        stranger = Party(tmp_path / "stranger")
        key = stranger.run("fl-app", "pod", "keygen", first).stdout.splitlines(keepends=True)[0]
        known = made.pods[second].directory / ".fl-app" / "known_pods"
        right = known.read_text()
        known.write_text(
            "\n".join(line for line in right.splitlines() if not line.startswith(first + " ")) + "\n" + key
        )
        started = time.monotonic()
        refused = made.fit(*QUICK, check=False, timeout=120)
        assert refused.returncode != 0
        assert first in refused.stderr
        assert second in refused.stderr
        assert "another key" in refused.stderr
        assert "Traceback" not in refused.stderr
        assert time.monotonic() - started < 100  # a hang, not a measurement
        assert made.results()["status"] == "failed"
        # Now it approves nobody.
        known.write_text(right)
        file = Path(pod_file(made.pods[second], second))
        file.write_text(
            "\n".join(line for line in file.read_text().splitlines() if first not in line or "name" in line)
        )
        refused = made.fit(*QUICK, check=False, timeout=120)
        assert refused.returncode != 0
        assert f"pod '{second}' does not approve pod '{first}'" in refused.stderr
        assert "approvals" in refused.stderr
    assert made.left_behind() == []
