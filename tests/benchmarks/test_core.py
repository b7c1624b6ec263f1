import importlib
import json
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks import core, rivals
from benchmarks.measure import Contender, machine, race


def secaggplus_client(parameters: list[Any], weight: int, seed: bytes) -> list[Any]:
    """Return what Flower's own client computes in its second stage, without neighbours."""
    from flwr.common import bytes_to_ndarray, ndarrays_to_parameters
    from flwr.common.secure_aggregation.secaggplus_constants import Key

    own: Any = importlib.import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")
    state = own.SecAggPlusState()
    state.nid, state.threshold, state.max_weight = 1, 0, 1000.0
    state.clipping_range, state.target_range, state.mod_range = 8.0, 1 << 22, 1 << 32
    state.rd_seed = seed
    configs: Any = {Key.CIPHERTEXT_LIST: [], Key.SOURCE_LIST: []}
    reply = own._collect_masked_vectors(state, configs, weight, ndarrays_to_parameters(parameters))
    return [bytes_to_ndarray(data) for data in reply[Key.MASKED_PARAMETERS]]  # type: ignore[union-attr, arg-type]


def test_the_rival_computes_what_flowers_own_client_computes() -> None:
    vector, seed = np.linspace(-9, 9, 1000, dtype=np.float32), bytes(range(32))
    np.random.seed(7)  # noqa: NPY002 - Flower rounds with it
    want = secaggplus_client([vector], 500, seed)
    np.random.seed(7)  # noqa: NPY002
    found = rivals.secaggplus_pod_step([vector], 500, seed, [])
    assert [array.tolist() for array in found] == [array.tolist() for array in want]


def test_the_rivals_sum_is_the_weighted_mean() -> None:
    vectors = [np.linspace(-1, 1, 50, dtype=np.float32) * k for k in (1, 2)]
    private, pair, other = bytes(32), bytes(range(32)), bytes(range(1, 33))
    first = rivals.secaggplus_pod_step([vectors[0]], 100, private, [pair, other])  # the first pair's mask subtracted
    second = rivals.secaggplus_pod_step([vectors[1]], 200, private, [other, pair])  # and here the second's
    (mean,) = rivals.secaggplus_server([first, second], [private, private])
    np.testing.assert_allclose(mean, (vectors[0] * 100 + vectors[1] * 200) / 300, atol=1e-4)


def test_scalar_shares_sum_to_the_mean() -> None:
    vector = np.linspace(-1, 1, 9, dtype=np.float32)
    masked = rivals.scalar_pod_step(vector, 3)
    np.testing.assert_allclose(rivals.scalar_server([masked - 3] * 2), vector, atol=1e-8)


def test_every_contender_is_run_as_often_as_the_others_and_in_turn() -> None:
    seen: list[str] = []
    contenders = [Contender(name, lambda name=name: seen.append(name)) for name in "ab"]  # type: ignore[misc]
    found = list(race("x", 1, 10, contenders, 4))
    assert "".join(seen) == "ab" * 5
    assert [m.by for m in found] == ["a", "b"]
    assert all(m.least <= m.median <= m.most for m in found)


def test_core_says_the_ratios_that_are_asked_for() -> None:
    arguments = ["core", "--elements", "2000", "--pods", "2", "--pods", "10", "--repeats", "1", "--json"]
    done = CliRunner().invoke(command.bench, arguments)
    document = json.loads(done.stdout)
    wanted = {"mask_over_aes256", "secaggplus_over_mask", "secaggplus_over_pod_step", "secaggplus_over_server"}
    assert wanted <= set(document["ratios"])
    assert all(isinstance(value, float) and value > 0 for value in document["ratios"].values())
    assert {row["by"] for row in document["measured"]} >= {"SecAgg+", "scalar shares", "AES-256-CTR", "memcpy"}
    assert document["machine"].keys() >= {"date", "processor", "load"}


def test_without_a_cohort_of_ten_there_are_no_ratios() -> None:
    assert core.ratios(list(core.core([500], [2], 1))) == {}


def test_wire_says_bytes_per_parameter() -> None:
    done = CliRunner().invoke(command.bench, ["wire", "--elements", "100000", "--json"])
    rows = json.loads(done.stdout)["measured"]
    ours = {row["by"]: row["per_parameter"] for row in rows if row["by"].startswith("fl-app")}
    assert ours == {"fl-app 2^61-1": pytest.approx(8.0, abs=1e-3), "fl-app 2^31-1": pytest.approx(4.0, abs=1e-3)}
    beside = [row["beside"] for row in rows if row["what"] == "every pod must answer"]
    assert max(beside) <= 2048


def test_memory_is_within_its_bounds() -> None:
    done = CliRunner().invoke(command.bench, ["memory", "--elements", "4000000", "--pods", "5", "--json"])
    found = {row["part"]: row["vectors"] for row in json.loads(done.stdout)["measured"]}
    assert found["pod"] <= 1.25
    assert found["server"] <= 2.5


def test_results_are_written_as_documents_a_picture_and_a_page(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.rounds import COMPLETE, FLOWER

    def runs(*_: Any) -> Any:
        yield "deployment", 2, COMPLETE, [1.0, 2.0], 5.0
        yield "deployment", 2, FLOWER, [2.0, 4.0], 20.0

    monkeypatch.setattr("benchmarks.rounds.measure", runs)
    done = CliRunner().invoke(command.bench, ["rounds", "--output", str(tmp_path / "out"), "--json"])
    document = json.loads(done.stdout)
    assert document["ratios"] == {
        "deployment_2_secure_over_flower": 0.5,
        "deployment_2_secure_over_flower_whole": 0.25,
    }
    CliRunner().invoke(command.bench, ["wire", "--elements", "1000", "--output", str(tmp_path / "out")])
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "README.md",
        "rounds.json",
        "rounds.png",
        "wire.json",
    }
    page = (tmp_path / "out" / "README.md").read_text()
    assert machine()["processor"] in page
    assert "| deployment | 2 | fl-app, t = n | 2 | 1.50 (1.00 to 2.00) | 5.0 |" in page
    assert "bytes per parameter" in page
