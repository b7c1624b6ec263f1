"""A network of the modeller's own: pods run the file that their owners have approved, and no other."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from flwr.app import RecordDict

from client.site.app_admission import Request, admit
from client.site.approved_apps import Apps, hash_of
from fl_app.flower import names
from fl_app.host.bundle import build
from fl_app.identity.known_pods import keygen
from fl_app.replica.state import Replica
from fl_app.replica.tabular import TabularRule
from fl_app.tabular import network_source
from fl_app.tabular.network_source import digest_of
from fl_app.tabular.settings import OWN_ARCHITECTURE
from tests.adversary.hostile.honest import settings
from tests.adversary.hostile.modeller import Run
from tests.adversary.hostile.tables import PODS, ROWS, Pods, table

APPROVED = "from torch import nn\ndef build(inputs): return nn.Linear(inputs.numbers, inputs.outputs)\n"
OTHER = APPROVED.replace("nn.Linear(", "nn.Linear( ")
CURIOUS = "import absent_at_pods_of_c0ffee\n" + APPROVED


BINNED = """
from torch import nn
def build(inputs):
    return nn.ModuleList([nn.Linear(inputs.numbers, inputs.outputs), nn.Embedding(sum(inputs.bins), 1)])
"""


class Careless(TabularRule):
    """The rule of a server that minds no owner's terms on the size of a network."""

    def after(self, *given: Any) -> Replica:
        """See `TabularRule`."""
        with patch("fl_app.replica.own_network._check"):
            return super().after(*given)


@pytest.fixture
def pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pods:
    """Pods whose app has the approved file in it."""
    (tmp_path / "own_network.py").write_text(APPROVED)
    monkeypatch.setattr(network_source, "__file__", str(tmp_path / "network_source.py"))
    return Pods(tmp_path, {name: table(rows, seed) for seed, (name, rows) in enumerate(ROWS.items())})


def refused(pods: Pods, source: str) -> dict[str, str]:
    """Ask for a run with a network, and return what each pod says, by its code and its words."""
    run = Run(pods, settings(architecture=OWN_ARCHITECTURE, network=digest_of(source))).join()
    return {name: f"{refusal.code}: {refusal.text}" for name, refusal in run.refusals.items()}


def test_the_network_that_owners_approved_is_run(pods: Pods) -> None:
    assert refused(pods, APPROVED) == {}


def test_a_network_of_another_digest_is_refused_before_anything_is_summed(pods: Pods) -> None:
    said = refused(pods, OTHER)
    assert sorted(said) == sorted(PODS)
    for name, text in said.items():
        assert text.startswith(f"policy: pod '{name}' has not the network that this run names (sha256 ")
        assert digest_of(OTHER)[:12] in text


def test_a_network_that_no_bundle_has_is_refused(pods: Pods) -> None:
    (pods.directory / "own_network.py").unlink()
    said = refused(pods, APPROVED)
    assert sorted(said) == sorted(PODS)
    assert all("has not the network that this run names" in text for text in said.values())


def test_what_a_network_fails_by_is_not_told(pods: Pods) -> None:
    (pods.directory / "own_network.py").write_text(CURIOUS)
    said = refused(pods, CURIOUS)
    assert sorted(said) == sorted(PODS)
    for text in said.values():
        assert text.startswith("policy: ")
        assert "cannot load the network of this run" in text
        assert "c0ffee" not in text


@pytest.mark.parametrize(("source", "most", "kinds"), [(APPROVED, 11, ()), (BINNED, 40, (names.STATISTICS,))])
def test_a_network_larger_than_an_owner_allows_is_not_built(
    source: str, most: int, kinds: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_network.py").write_text(source)
    monkeypatch.setattr(network_source, "__file__", str(tmp_path / "network_source.py"))
    pods = Pods(tmp_path, {name: table(rows, seed) for seed, (name, rows) in enumerate(ROWS.items())})
    (tmp_path / "west.yaml").write_text(
        (tmp_path / "west.yaml").read_text().replace("policy: {", f"policy: {{maximum_parameters: {most}")
    )
    run = Run(pods, settings(architecture=OWN_ARCHITECTURE, network=digest_of(source)))
    run.rule = Careless()
    run.join()
    for kind in kinds:  # as long as nobody knows how many bins there are
        assert run.honest(kind).total is not None
    refused = run.honest(names.TRAIN) if kinds else run.step(names.STATISTICS, 1, RecordDict(), {})
    assert sorted(refused.refusals) == sorted(PODS)  # each for the strictest among them
    for refusal in refused.refusals.values():
        assert f"pod 'west' takes part with networks of at most {most} parameters (maximum_parameters)" in refusal.text


def test_a_network_larger_than_an_owner_allows_by_now_is_not_built(pods: Pods) -> None:
    run = Run(pods, settings(architecture=OWN_ARCHITECTURE, network=digest_of(APPROVED))).join()
    assert run.honest(names.STATISTICS).total is not None
    file = pods.directory / "west.yaml"
    file.write_text(file.read_text().replace("policy: {", "policy: {maximum_parameters: 11"))
    outcome = run.honest(names.TRAIN)
    assert outcome.total is None
    assert "at most 11 parameters (maximum_parameters)" in outcome.refusals["west"].text


def test_a_bundle_with_another_network_than_the_approved_one_is_refused(tmp_path: Path) -> None:
    name = PODS[0]
    keygen(name, tmp_path)
    home = tmp_path / "pods" / name
    Apps(home).approve(build(APPROVED.encode()))

    def judged(network: str) -> object:
        request = Request("1", "train.hello", build(network.encode()), {})
        return admit(request, name, home, tmp_path / f"{name}.yaml")

    assert judged(APPROVED) is None
    assert judged(OTHER) is not None
    assert [stored.name for stored in (home / "refused").iterdir()] == [f"{hash_of(build(OTHER.encode()))}.fab"]
