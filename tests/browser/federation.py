"""Three pods over TLS on this machine, each party with a directory of its own, and the hubs of three of them."""

import contextlib
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from client.site.approved_apps import Apps
from fl_app.system.home import pod_home
from tests.processes.parties import Party, bundle, left_behind, wait_for
from tests.support.ports import free_port
from tests.support.small_federation import table

PODS = ("east", "north", "west")
FIT = ("fl-app", "fit", "--federation", "federation.toml", "--target", "outcome", "--local-steps", "5")


class Federation:
    """An operator, three pods and a modeller, who have exchanged cards; the SuperLink is served."""

    def __init__(self, root: Path) -> None:
        self.root, self.address = root, f"127.0.0.1:{free_port()}"
        self.operator, self.modeller = Party(root / "operator"), Party(root / "modeller")
        self.pods = {name: Party(root / name) for name in PODS}

    def begin(self) -> None:
        """Make keys and cards, register them, and serve the SuperLink."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._furnish, PODS, range(len(PODS))))
        self.modeller.run("fl-app", "modeller", "keygen", "ada", "-o", "ada.card")
        cards = [str(self.card(name)) for name in PODS] + [str(self.modeller.directory / "ada.card")]
        self.operator.run("fl-app", "provision", self.address, "--no-modeller", *cards)
        joined = (self.operator.directory / "superlink" / "federation.toml").read_text()
        for party in (self.modeller, *self.pods.values()):
            (party.directory / "federation.toml").write_text(joined)
        self.operator.start("fl-app", "superlink", "run", "superlink")
        wait_for("the SuperLink", 120, lambda: "SuperLink serves" in self.operator.log())

    def _furnish(self, name: str, seed: int) -> None:
        party = self.pods[name]
        table(400, seed).to_csv(party.directory / "table.csv", index=False)
        (party.directory / f"{name}.yaml").write_text(
            f"name: {name}\ndatasource: CSVSource\ndatasource_args: {{path: table.csv}}\n"
            "approved_pods: []\npolicy: {minimum_cohort: 2, minimum_rows_per_class: 1}\n"
        )
        party.run("fl-app", "pod", "keygen", name, "-o", f"{name}.card")
        Apps(pod_home(name, party.directory / ".fl-app")).approve(bundle())

    def card(self, name: str) -> Path:
        return self.pods[name].directory / f"{name}.card"

    def join(self, name: str) -> "subprocess.Popen[bytes]":
        """Start a pod, whose owner approves the two others."""
        others = [part for other in PODS if other != name for part in ("--approve", str(self.card(other)))]
        return self.pods[name].start("fl-app", "pod", "run", f"{name}.yaml", "--federation", "federation.toml", *others)

    def hub(self, party: Party, *command: str) -> str:
        """Serve a hub, and return a link that logs in once."""
        party.start("fl-app", *command, "--port", "0", "--no-browser", "--json", log="hub.log")
        wait_for("the hub", 60, lambda: '"link"' in party.log("hub.log"))
        return str(json.loads(party.log("hub.log").strip().splitlines()[-1])["link"])

    def fit(self, *more: str) -> "subprocess.Popen[bytes]":
        return self.modeller.start(*FIT, *more, log="fit.log")

    def stop(self) -> list[str]:
        """End everything, and return what is still there."""
        for party in (*self.pods.values(), self.modeller, self.operator):
            party.stop()
        with contextlib.suppress(AssertionError):
            wait_for("the end", 20, lambda: not left_behind(self.root))
        return left_behind(self.root)
