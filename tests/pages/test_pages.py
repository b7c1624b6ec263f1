"""README and the pages of docs/, followed as they stand; docs/deployment.md has a test of its own."""

import csv
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from fl_app.host.party_keys import pod_card
from fl_app.pod.pod_file import load_pod
from fl_app.tabular.model_file import TrainedModel
from server.modeller.tuning.space import TuningSpace
from tests.pages.blocks import ROOT, blocks_of, pages
from tests.pages.test_blocks import DEPLOYMENT
from tests.pages.walk import Walk
from tests.processes.parties import SCRIPTS
from tests.support.small_federation import small_federation, table

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1200)]

VENV_LENT = f"""#!/bin/sh
mkdir .venv && ln -s {SCRIPTS} .venv/bin && touch .venv/.ready
"""
"""A git hook that gives a clone the environment of these tests: that installing works, `make setup` has shown."""


@pytest.mark.simulation
def test_the_readme_and_then_the_quick_start(tmp_path: Path) -> None:
    walk = newcomer(tmp_path)
    walk.follow("README.md")
    assert walk.directory.name == "fl-app"
    (first, *_) = blocks_of("README.md")
    assert len(first.commands()) == 4
    results = json.loads((walk.directory / "runs" / "latest" / "results.json").read_text())
    assert results["status"] == "completed"
    (opened,) = (tmp_path / "opened").read_text().split()
    assert Path(opened.removeprefix("file://")).name == "report.html"
    assert Path(opened.removeprefix("file://")).is_file()
    with (walk.directory / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16281
    assert all(abs(sum(map(float, row.values())) - 1) < 1e-6 for row in rows[:100])
    walk.follow("docs/quickstart.md")
    reference = (ROOT / "docs" / "reference" / "files.md").read_text("utf-8")
    files = {path.name for path in (walk.directory / "runs" / "latest").iterdir() if path.suffix != ".png"}
    assert {name for name in files if f"`{name}`" not in reference} == set()


@pytest.mark.simulation
def test_the_modellers_page(tmp_path: Path) -> None:
    for seed, name in enumerate(("north", "south", "public")):
        table(3000, seed).to_csv(tmp_path / f"{name}.csv", index=False)
    walk = follow(tmp_path, "docs/modeller.md")
    assert len((walk.directory / "scores.csv").read_text().splitlines()) == 3001
    assert scores(walk.directory / "scores.csv") == pytest.approx(
        scores(walk.directory / "scores-of-pt2.csv"), abs=1e-5
    )


@pytest.mark.simulation
def test_the_page_on_descriptions(tmp_path: Path) -> None:
    walk = follow(tmp_path, "docs/describe.md")
    shown, again = (json.loads(path.read_text()) for path in sorted((walk.directory / "runs").glob("2*/results.json")))
    assert shown["description"]["columns"] == again["description"]["columns"]  # the noise is the same
    pictures = {path.name for path in (walk.directory / "runs" / "latest").glob("*.png")}
    assert pictures == {"distributions.png", "balance.png"}


def test_the_page_on_tuning(tmp_path: Path) -> None:
    small_federation(tmp_path)
    federations = tmp_path / "fl-app.toml"
    federations.write_text(federations.read_text().replace("[federation.small]", "[federation.laptop]"))
    walk = Walk(tmp_path, tmp_path / "home")
    walk.follow("docs/tune.md")
    tuning = json.loads((tmp_path / "tuning.json").read_text())
    assert [rung["trials"] for rung in tuning["rungs"]] == [2, 1]
    assert tuning["final"] is None
    directories = list((tmp_path / "runs").glob("tune-*"))
    assert len(directories) == 2
    reference = (ROOT / "docs" / "reference" / "files.md").read_text("utf-8")
    files = {path.name for directory in directories for path in directory.iterdir()}
    assert {name for name in files if f"`{name}`" not in reference} == set()
    assert TABLE.findall((ROOT / "docs" / "tune.md").read_text("utf-8")) == in_the_page(TuningSpace())


TABLE = re.compile(r"^\| `(\w+)` \| (.+?) \| `--", re.MULTILINE)
"""The rows of the table of what is tried."""


def in_the_page(space: TuningSpace) -> list[tuple[str, str]]:
    """Return the settings of a space with their values, as the page writes them."""

    def listed(values: tuple[object, ...]) -> str:
        return ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)

    return [
        (
            name,
            "; ".join(f"{one}: {listed(rates)}" for one, rates in values.items())
            if isinstance(values, dict)
            else listed(values),
        )
        for name, values in space
    ]


@pytest.mark.simulation
def test_the_page_on_numbers(tmp_path: Path) -> None:
    walk = follow(tmp_path, "docs/regression.md")
    results = json.loads((walk.directory / "runs" / "latest" / "results.json").read_text())
    assert results["regression"]["unit"] == "hours"
    assert results["regression"]["loss"] == "absolute"
    assert results["final"]["r2"] > 0
    with (walk.directory / "hours.csv").open() as file:
        (head, *rows) = csv.reader(file)
    assert (head, len(rows)) == (["hours-per-week [hours]"], 16281)
    assert all(0 <= float(hours) <= 100 for (hours,) in rows)


@pytest.mark.simulation
def test_the_page_on_networks_of_ones_own(tmp_path: Path) -> None:
    walk = follow(tmp_path, "docs/own-network.md")
    source = (ROOT / "examples" / "network.py").read_text()
    assert (walk.directory / "network.py").read_text() == source == (walk.directory / "network-copy.py").read_text()
    assert scores(walk.directory / "scores.csv") == pytest.approx(
        scores(walk.directory / "scores-of-onnx.csv"), abs=1e-5
    )
    results = json.loads((walk.directory / "runs" / "latest" / "results.json").read_text())
    assert results["test"]["auc"] > 0.85


@pytest.mark.simulation
def test_the_page_on_dates(tmp_path: Path) -> None:
    for seed, (name, form) in enumerate((("north", "%Y-%m-%d"), ("south", "%d.%m.%Y"))):
        data = table(600, seed)
        days = pd.Timestamp("2021-01-01") + pd.to_timedelta(data.index.to_numpy() % 900, unit="D")
        data.assign(admitted=days.strftime(form)).to_csv(tmp_path / f"{name}.csv", index=False)
    walk = follow(tmp_path, "docs/dates.md")
    text = "admitted: {unit: days, bounds: [2020-01-01, 2028-01-01]}"
    assert text in (ROOT / "docs" / "dates.md").read_text("utf-8")
    features = TrainedModel.load(walk.directory / "runs" / "latest" / "model.pt").encoding.features
    assert {column.name for column in features} >= {"admitted", "admitted (month)", "admitted (weekday)"}
    assert next(column for column in features if column.date).range == "2020-01-01 to 2028-01-01"
    assert "kind: date" in (walk.directory / "columns.yaml").read_text()


def test_the_pod_owners_page(tmp_path: Path) -> None:
    data = table(3000, 1)
    data.insert(0, "patient_id", range(len(data)))
    data.to_csv(tmp_path / "patients.csv", index=False)
    for name in ("hospital-b", "hospital-c"):
        pod_card(name, tmp_path / "theirs").write(tmp_path / f"{name}.card")
    walk = follow(tmp_path, "docs/pod-owner.md")
    written = load_pod(walk.directory / "hospital-a.yaml")
    assert written.approved_pods == ("hospital-b", "hospital-c")
    python = load_pod(walk.directory / "hospital_a.py")
    assert (python.datasource, python.approved_pods) == (written.datasource, written.approved_pods)


def test_the_protocols_page(tmp_path: Path) -> None:
    follow(tmp_path, "docs/protocol.md")


def test_no_page_is_left_out() -> None:
    own = ("quickstart", "modeller", "describe", "regression", "dates", "tune", "own-network", "pod-owner", "protocol")
    followed = {"README.md", DEPLOYMENT, *(f"docs/{name}.md" for name in own)}
    to_run = {
        page
        for page in pages()
        for block in blocks_of(page)
        if block.language != "text" and "run in" not in block.notes
    }
    assert to_run == followed


def newcomer(place: Path) -> Walk:
    """Return somebody with an empty directory, a browser, and a git whose clones have an environment already."""
    hooks = place / "template" / "hooks"
    hooks.mkdir(parents=True)
    (hooks / "post-checkout").write_text(VENV_LENT)
    (place / "browser").write_text(f'#!/bin/sh\necho "$1" >> {place}/opened\n')
    for script in (hooks / "post-checkout", place / "browser"):
        script.chmod(0o755)
    (place / "home").mkdir()
    (place / "home" / ".gitconfig").write_text("[safe]\n\tdirectory = *\n")
    (place / "work").mkdir()
    lent = {"GIT_TEMPLATE_DIR": str(hooks.parent), "BROWSER": f"{place}/browser %s"}
    return Walk(place / "work", place / "home", lent)


def follow(directory: Path, page: str) -> Walk:
    """Follow a page in ``directory``, with a HOME beside its files."""
    home = directory / "home"
    home.mkdir()
    walk = Walk(directory, home)
    walk.follow(page)
    return walk


def scores(file: Path) -> list[float]:
    """Return the figures of a CSV file of scores."""
    with file.open() as content:
        return [float(value) for row in csv.DictReader(content) for value in row.values()]
