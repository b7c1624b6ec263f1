"""Over TLS with authentication, on this machine: who is registered trains, who is not is told so in a line."""

import contextlib
import json
import signal
import sqlite3
from pathlib import Path

import pytest

from client.site.approved_apps import Apps
from fl_app.system.home import pod_home
from tests.processes.parties import Party, bundle, left_behind, wait_for
from tests.support.ports import free_port
from tests.support.small_federation import table

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]
PODS = ("east", "west")
FIT = ("fl-app", "fit", "--federation", "federation.toml", "--target", "outcome", "--rounds", "2", "--local-steps", "5")


class Deployment:
    """An operator, two pods and a modeller, who have exchanged cards and nothing else."""

    def __init__(self, root: Path) -> None:
        self.root, self.address = root, f"127.0.0.1:{free_port()}"
        self.operator, self.modeller, self.guest = Party(root / "operator"), Party(root / "modeller"), Party(root / "g")
        self.pods = {name: Party(root / name) for name in (*PODS, "north")}
        for seed, (name, party) in enumerate(self.pods.items()):
            table(400, seed).to_csv(party.directory / "table.csv", index=False)
            (party.directory / f"{name}.yaml").write_text(
                f"name: {name}\ndatasource: CSVSource\ndatasource_args: {{path: table.csv}}\n"
                "approved_pods: []\npolicy: {minimum_cohort: 2, minimum_rows_per_class: 1}\n"
            )
            party.run("fl-app", "pod", "keygen", name, "-o", f"{name}.card")
            Apps(pod_home(name, party.directory / ".fl-app")).approve(bundle())
        self.modeller.run("fl-app", "modeller", "keygen", "ada", "-o", "ada.card")
        self.guest.run("fl-app", "modeller", "keygen", "guest")

    def provision(self, *cards: Path) -> None:
        """Register cards, and hand the join file out."""
        given = ["--no-modeller", *map(str, cards)]
        self.operator.run("fl-app", "provision", self.address, *given)
        joined = (self.operator.directory / "superlink" / "federation.toml").read_text()
        for party in (self.modeller, self.guest, *self.pods.values()):
            (party.directory / "federation.toml").write_text(joined)

    def card(self, name: str) -> Path:
        return self.pods[name].directory / f"{name}.card"

    def serve(self) -> None:
        before = self.operator.log().count("SuperLink serves")
        self.operator.start("fl-app", "superlink", "run", "superlink")
        wait_for("the SuperLink", 120, lambda: self.operator.log().count("SuperLink serves") > before)

    def join(self, name: str, party: Party | None = None) -> None:
        party = party or self.pods[name]
        others = [part for other in PODS if other != name for part in ("--approve", str(self.card(other)))]
        party.start("fl-app", "pod", "run", f"{name}.yaml", "--federation", "federation.toml", *others)

    def refusals(self, name: str) -> list[dict[str, str]]:
        """Return what the pod's audit log says of messages that it refused."""
        document = json.loads(self.pods[name].run("fl-app", "pod", "log", name, "--json").stdout)
        return [entry for entry in document["entries"] if entry["event"] == "refusal"]

    def online(self, name: str) -> bool:
        return "is online" in self.pods[name].log()

    def stop(self) -> None:
        for party in (*self.pods.values(), self.modeller, self.guest, self.operator):
            party.stop()


def test_a_federation_over_tls(tmp_path: Path) -> None:
    made = Deployment(tmp_path / "dep")
    try:
        made.provision(*(made.card(name) for name in PODS), made.modeller.directory / "ada.card")
        made.serve()
        for name in (*PODS, "north"):
            made.join(name)

        # Not registered: a pod, and a modeller.
        wait_for("north is turned away", 60, lambda: made.pods["north"].processes[0].poll() is not None)
        said = made.pods["north"].log().strip().splitlines()[-1]
        assert said.startswith(f"fl-app: this pod's key is not registered at {made.address}")
        assert "north.card" in said
        assert "turned this pod's key away" in made.refusals("north")[-1]["why"]
        refused = made.guest.run(*FIT, check=False)
        assert refused.returncode == 1
        (line,) = [text for text in refused.stderr.splitlines() if text.startswith("fl-app:")]
        assert "not registered as a modeller" in line
        assert "Traceback" not in refused.stderr

        for name in PODS:
            wait_for(f"pod {name}", 60, lambda name=name: made.online(name))
        made.modeller.run(*FIT, timeout=300)
        run = made.modeller.directory / "runs" / "latest"
        assert json.loads((run / "results.json").read_text())["status"] == "completed"
        _check_places(made, run / "model.safetensors")

        _check_terms(made)
        _check_taken_name(made)

        # A revocation counts at once, for a pod that is online as well, and is final.
        made.operator.run("fl-app", "superlink", "revoke", "superlink", "west")
        west = made.pods["west"].processes[-1]
        # Sooner than its pull, held for 20 seconds, ends by itself.
        wait_for("west is turned away", 15, lambda: west.poll() is not None)
        assert "not registered" in made.pods["west"].log().strip().splitlines()[-1]
        again = made.operator.run("fl-app", "provision", made.address, str(made.card("west")), check=False)
        assert again.returncode == 2
        assert "revoked" in again.stderr
        made.operator.run("fl-app", "superlink", "revoke", "superlink", "ada")
        gone = made.modeller.run(*FIT, check=False)
        assert "not registered as a modeller" in gone.stderr

        shown = json.loads(made.operator.run("fl-app", "superlink", "show", "superlink", "--json").stdout)
        assert shown["serves"]
        assert [party["name"] for party in shown["registered"]] == ["east", "north"]
        assert shown["registered"][0]["last_seen"]

        _check_tampering(made)
        made.operator.processes[0].send_signal(signal.SIGTERM)
        assert made.operator.processes[0].wait(30) == 0
    finally:
        made.stop()
    assert left_behind(tmp_path) == []


def _check_terms(made: Deployment) -> None:
    """A run in the clear and one with too small a cohort are refused, and the pod's audit log says so."""
    refused = made.modeller.run(*FIT, "--plain", check=False)
    assert refused.returncode == 1
    assert "pod 'east' takes part in secure aggregation only" in refused.stderr
    assert "secure aggregation only" in made.refusals("east")[-1]["why"]
    file = made.pods["east"].directory / "east.yaml"
    terms = file.read_text()
    file.write_text(terms.replace("minimum_cohort: 2", "minimum_cohort: 3"))
    refused = made.modeller.run(*FIT, check=False)
    assert refused.returncode == 1
    assert "pod 'east' asks for a cohort of at least 3 pods; this one has 2" in refused.stderr
    assert "at least 3 pods" in made.refusals("east")[-1]["why"]
    file.write_text(terms)


def _check_taken_name(made: Deployment) -> None:
    """A node that is registered as another takes the name of a pod that is away: the other pod refuses its key."""
    made.provision(made.card("north"))
    west, north = made.pods["west"], made.pods["north"]
    west.stop()
    (north.directory / "west.yaml").write_text((west.directory / "west.yaml").read_text())
    north.run("fl-app", "pod", "revoke", "west")  # it knows the right one
    north.run("fl-app", "pod", "keygen", "west")
    north.run("fl-app", "pod", "approve-app", "west", "--yes")
    pods = north.directory / ".fl-app" / "pods"
    (pods / "west" / "node.key").write_bytes((pods / "north" / "node.key").read_bytes())
    made.join("west", north)
    wait_for("the stranger", 60, lambda: "is online" in north.log())
    refused = made.modeller.run(*FIT, "--pods", "east,west", check=False)
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert "west" in refused.stderr
    assert "pod 'west' by another key" in made.refusals("east")[-1]["why"]
    north.stop()
    made.join("west")
    wait_for("west is back", 60, lambda: west.log().count("is online") == 2)


def _check_tampering(made: Deployment) -> None:
    """An entry that somebody has altered is found."""
    east = made.pods["east"]
    assert east.run("fl-app", "pod", "log", "east").returncode == 0
    with contextlib.closing(sqlite3.connect(east.directory / ".fl-app" / "pods" / "east" / "ledger.db")) as database:
        database.execute("UPDATE entries SET why = 'no reason' WHERE seq = (SELECT max(seq) FROM entries)")
        database.commit()
    found = east.run("fl-app", "pod", "log", "east", check=False)
    assert found.returncode == 1
    assert "altered" in found.stderr


def _check_places(made: Deployment, model: Path) -> None:
    """The model is where the modeller is; private keys are where they were made."""
    content = model.read_bytes()
    weights = content[8 + int.from_bytes(content[:8], "little") :]
    part = weights[len(weights) // 2 :][:64]
    assert len(set(part)) > 16
    for path in made.operator.directory.rglob("*"):
        if path.is_file():
            assert part not in path.read_bytes(), f"the model's numbers are in {path}"
            assert not path.name.startswith("model."), path
    secret = [path for path in made.root.rglob("*.key") if path.is_file()]
    assert {path.name for path in secret} == {"ca.key", "superlink.key", "identity.key", "node.key"}
    for path in secret:
        assert path.stat().st_mode & 0o077 == 0, path
        home = "operator" if path.name in ("ca.key", "superlink.key") else None
        assert home is None or path.is_relative_to(made.root / home)
