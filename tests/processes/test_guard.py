"""A pod runs the app that its owner approved: another one is refused, unread, on real Flower processes."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from tests.processes.parties import Parties, parties
from tests.support.small_federation import table

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[2]
PODS = ("north", "south")


def furnish(made: Parties) -> None:
    for seed, (name, party) in enumerate(made.pods.items()):
        table(400, seed).to_csv(party.directory / "table.csv", index=False)
        (party.directory / f"{name}.yaml").write_text(
            f"name: {name}\ndatasource: CSVSource\ndatasource_args: {{path: table.csv}}\n"
            f"approved_pods: [{', '.join(PODS)}]\npolicy: {{minimum_cohort: 2, minimum_rows_per_class: 1}}\n"
        )


def fit(made: Parties, check: bool = True) -> str:
    quick = ("--rounds", "1", "--local-steps", "5", "--optimizer", "SGD", "--lr", "0.05")
    return made.modeller.run(
        "fl-app", "fit", "--federation", "test", "--target", "outcome", *quick, check=check, timeout=400
    ).stderr


def test_a_changed_app_is_refused_unread_until_its_owner_approves_it(tmp_path: Path) -> None:
    with parties(tmp_path / "dep", PODS, furnish) as made:
        made.start_pods()
        fit(made)
        assert made.results()["status"] == "completed"

        # The modeller's installation with one more line in it, which would show that the pod has run it.
        installed, marker = tmp_path / "installed", tmp_path / "marker"
        for package in ("fl_app", "client", "strategies", "server"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / package, installed / package, ignore=ignored)
        app = installed / "client" / "__init__.py"
        app.write_text(f"{app.read_text()}import os\nopen({str(marker)!r}, 'a').write(os.getcwd() + '\\n')\n")
        made.modeller.extra["PYTHONPATH"] = str(installed)
        said = fit(made, check=False)
        assert made.results()["status"] == "failed"
        for name in PODS:
            assert f"pod '{name}' does not run this version of the app" in said
            assert "fl-app pod approve-app" in said
            assert "Traceback" not in said
        assert not _ran_at_pods(made, marker), "code that nobody approved has run"

        hashes = set()
        for name, party in made.pods.items():
            refused = _refusals(party, name)
            assert len(refused) == 1, refused
            (kept,) = (party.directory / ".fl-app" / "pods" / name / "refused").iterdir()
            assert hashlib.sha256(kept.read_bytes()).hexdigest() == kept.stem
            assert kept.stem in json.dumps(refused)
            assert refused[0]["run"].isdigit()
            hashes.add(kept.stem)
        (changed,) = hashes

        for name, party in made.pods.items():
            shown = party.run("fl-app", "pod", "approve-app", name, changed[:12], "--yes").stdout
            assert "client/__init__.py" in shown
            assert "+open(" in shown
        fit(made)
        assert made.results()["status"] == "completed"
        assert _ran_at_pods(made, marker) == set(PODS)

        # One byte that does nothing, in a comment.
        source = installed / "client" / "app" / "masked_app.py"
        source.write_text(source.read_text() + "#")
        assert "does not run this version" in fit(made, check=False)
    assert made.left_behind() == []


def _ran_at_pods(made: Parties, marker: Path) -> set[str]:
    """Return the pods in whose directory a process has run the changed line; the modeller's own may have."""
    places = marker.read_text().splitlines() if marker.exists() else []
    return {name for name, party in made.pods.items() if str(party.directory) in places}


def _refusals(party: object, name: str) -> list[dict[str, str]]:
    shown = party.run("fl-app", "pod", "log", name, "--json").stdout  # type: ignore[attr-defined]
    return [entry for entry in json.loads(shown)["entries"] if entry["event"] == "refusal"]
