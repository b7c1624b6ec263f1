"""Federations made in Python: the same as those in a file, and found by the processes of a run."""

from pathlib import Path

import pytest

from fl_app import CSVSource, DataStructure, Federation, Pod, Policy, PyTorchTabularClassifier, combine_pod_schemas
from fl_app.errors import UsageError
from fl_app.federation.kinds import DeployedFederation, SimulatedFederation, find_federation
from fl_app.system.home import fl_app_home, pod_home
from tests.support.small_federation import PODS, isolate, small_federation, table, write_pod

POLICY = Policy(minimum_cohort=2, minimum_rows_per_class=1, minimum_category_count=3)


@pytest.fixture(autouse=True)
def _settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(monkeypatch, tmp_path)


def two_pods(directory: Path) -> list[str | Path | Pod]:
    """Return a pod in a file and one in Python, neither of which has a key."""
    for seed, name in enumerate(PODS):
        table(600, seed).to_csv(directory / f"{name}.csv", index=False)
    write_pod(directory, "north")
    return ["north.yaml", Pod(name="south", datasource=CSVSource("south.csv"), approved_pods=PODS, policy=POLICY)]


def test_a_simulation_of_a_file_and_of_a_pod_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = Federation.simulation(two_pods(tmp_path), test_file="north.csv", test_target="outcome")
    assert federation.pod_identifiers == PODS
    assert repr(federation).startswith("<Federation 'simulation': simulation of north.yaml, south-")
    assert str(federation) == repr(federation)
    for name in PODS:
        assert (pod_home(name) / "identity.key").exists()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert find_federation(federation.source, Path.cwd()) == federation
    schema = combine_pod_schemas(federation=federation)
    model = PyTorchTabularClassifier(DataStructure(target="outcome"), schema, epochs=1, batch_size=32)
    (entry,) = model.fit(federation=federation)
    assert entry["num_examples"] == 120
    assert "test_auc" in entry
    assert model.run_directory is not None
    assert model.run_directory.parent == elsewhere / "runs"


def test_the_same_federation_is_kept_once_and_keys_stay(tmp_path: Path) -> None:
    first = Federation.simulation(two_pods(tmp_path))
    keys = {name: (pod_home(name) / "identity.key").read_bytes() for name in PODS}
    kept = sorted((fl_app_home() / "federations").iterdir())
    assert Federation.simulation(two_pods(tmp_path)) == first
    assert sorted((fl_app_home() / "federations").iterdir()) == kept
    assert len(kept) == 2  # the pod made in Python, and the federation
    assert {name: (pod_home(name) / "identity.key").read_bytes() for name in PODS} == keys
    assert Federation.simulation(two_pods(tmp_path), name="other").source != first.source


def test_keys_are_made_where_the_federation_has_its_home(tmp_path: Path) -> None:
    federation = Federation.simulation(two_pods(tmp_path), home="keys")
    assert federation.home == tmp_path / "keys"
    assert (pod_home("north", tmp_path / "keys") / "identity.key").exists()
    assert not pod_home("north").exists()


def test_a_deployment_is_that_of_a_file(tmp_path: Path) -> None:
    options = {"sep": ";", "na_values": ["?", 'a "quoted" one'], "skiprows": 2, "skipinitialspace": True}
    made = Federation.deployment(
        "fl.example.org:8123",
        ["hospital-a", "hospital-b"],
        root_certificates="ca.pem",
        test_file="test.csv",
        test_target='in"come',
        test_read_options=options,
    )
    assert made == find_federation(made.source, tmp_path / "elsewhere")
    assert made == DeployedFederation(
        name="fl.example.org:8123",
        source=made.source,
        kind="deployment",
        superlink="fl.example.org:8123",
        pods=("hospital-a", "hospital-b"),
        root_certificates=tmp_path / "ca.pem",
        test_file=tmp_path / "test.csv",
        test_target='in"come',
        test_read_options=options,
    )
    assert made.pod_identifiers == ("hospital-a", "hospital-b")
    assert repr(made) == (
        "<Federation 'fl.example.org:8123': SuperLink fl.example.org:8123, pods hospital-a, hospital-b>"
    )
    assert "whichever pods are connected" in repr(Federation.deployment("localhost:8123", insecure=True))


def test_names_of_any_kind_are_found_again() -> None:
    for name in ("two words", 'quo"ted', "back\\slash", "é\x7f", "a#b"):
        made = Federation.deployment("localhost:8123", name=name, insecure=True)
        assert find_federation(made.source, Path()) == made


def test_load_takes_what_the_command_line_takes(tmp_path: Path) -> None:
    small = small_federation(tmp_path)
    assert Federation.load("small") == Federation.load() == small
    assert Federation.load(f"{tmp_path}/fl-app.toml#small") == small
    assert isinstance(Federation.load("census"), SimulatedFederation)
    with pytest.raises(UsageError, match="unknown federation, did you mean 'small'"):
        Federation.load("smal")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"superlink": "nowhere"}, r"Federation\.deployment: superlink: must be host:port"),
        ({"superlink": "fl.example.org:1", "insecure": True}, "for a SuperLink on this machine"),
        ({"superlink": "localhost:1", "pods": ["No Name"]}, r"pods\[0\]: a pod's name is"),
        ({"superlink": "localhost:1", "root_certificates": "-----BEGIN x"}, "neither the path of a file nor the text"),
        ({"superlink": "localhost:1", "test_read_options": {"seq": ";"}}, r"test_read_options\.seq: unknown key"),
        ({"superlink": "localhost:1", "test_read_options": {"header": None}}, "header: None has no form"),
    ],
)
def test_a_wrong_deployment_is_refused_in_the_arguments_terms(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Federation.deployment(**settings)  # type: ignore[arg-type]


def test_a_wrong_simulation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Federation\.simulation: pods: "):
        Federation.simulation([])
    with pytest.raises(UsageError, match="no such pod file"):
        Federation.simulation(["nobody.yaml"])
    pods = two_pods(tmp_path)
    with pytest.raises(UsageError, match="two pods have one name: north, north"):
        Federation.simulation([pods[0], pods[0]])
