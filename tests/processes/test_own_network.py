"""A network of the modeller's own over TLS: pods refuse it until their owners have read it and approved it."""

import json
from pathlib import Path

import pytest

from tests.house.source import ROOT
from tests.processes.parties import left_behind, wait_for
from tests.processes.test_tls import FIT, PODS, Deployment

pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]


def test_owners_approve_a_network_of_the_modellers_own(tmp_path: Path) -> None:
    made = Deployment(tmp_path / "dep")
    source = (ROOT / "examples" / "network.py").read_text()
    (made.modeller.directory / "network.py").write_text(source)
    fit = (*FIT, "--network", "network.py")
    run = made.modeller.directory / "runs" / "latest"
    try:
        made.provision(*(made.card(name) for name in PODS), made.modeller.directory / "ada.card")
        made.serve()
        for name in PODS:
            made.join(name)
        for name in PODS:
            wait_for(f"pod {name}", 60, lambda name=name: made.online(name))

        refused = made.modeller.run(*fit, check=False, timeout=300)
        assert refused.returncode == 1
        assert "does not run this version of the app" in refused.stderr
        assert "Traceback" not in refused.stderr

        for name in PODS:
            party = made.pods[name]
            listed = json.loads(party.run("fl-app", "pod", "approve-app", name, "--list", "--json").stdout)
            (bundle,) = listed["refused"]
            shown = party.run("fl-app", "pod", "approve-app", name, bundle[:12], "--yes").stdout
            files = [line.split() for line in shown.splitlines() if line.startswith("  ")]
            lines = len(source.splitlines())
            assert files[0] == ["new", "fl_app/tabular/own_network.py", f"+{lines}", "-0"]
            assert "1 files differ" in shown
            assert all(f"+{line}" in shown.splitlines() for line in source.splitlines() if line)

        made.modeller.run(*fit, timeout=300)
        results = json.loads((run / "results.json").read_text())
        assert (results["status"], len(results["rounds"])) == ("completed", 2)
        assert results["training"]["settings"]["architecture"] == "own"

        # One line more, which nobody has seen.
        (made.modeller.directory / "network.py").write_text(f"{source}# swapped\n")
        assert "does not run this version" in made.modeller.run(*fit, check=False, timeout=300).stderr
    finally:
        made.stop()
    assert left_behind(tmp_path) == []
