"""Rows that are left out, and differences that were bridged, are told: whole runs in this process."""

import io
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from fl_app.config import RunConfig
from fl_app.tabular.combining import SchemaMismatch
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.settings import DataStructure
from server.app.results import Results
from server.app.run_directory import RunDirectory
from server.display.progress import Progress
from server.display.report import write_report
from server.exports.model_card import card
from server.modeller.launch import UnfitData, fit
from tests.support.small_federation import PODS, small_federation, table


def trained(work: Path, tables: list[pd.DataFrame], test: pd.DataFrame | None = None) -> RunDirectory:
    federation = small_federation(work)
    for name, frame in zip(PODS, tables, strict=True):
        frame.to_csv(work / f"{name}.csv", index=False)
    test_file = None
    if test is not None:
        test_file = work / "test.csv"
        test.to_csv(test_file, index=False)
    config = RunConfig(pods=PODS, datastructure=DataStructure(target="outcome"), rounds=1, local_epochs=1)
    return fit(config, federation, runs=work / "runs", test_file=test_file)


def spoiled(seed: int, rare: int, missing: int) -> pd.DataFrame:
    frame = table(600, seed)
    frame.loc[: rare - 1, "outcome"] = "rare"
    frame.loc[rare : rare + missing - 1, "outcome"] = None
    return frame


def lines(results: Results, *, verbose: bool) -> str:
    out = io.StringIO()
    with Progress(Console(file=out, width=200), verbose=verbose) as progress:
        progress(results)
    return out.getvalue()


def test_rows_without_a_published_label_are_told_everywhere(work: Path) -> None:
    """Two rows of "rare" are too few to be published or counted; 20 without a label are not."""
    north, south = spoiled(0, rare=2, missing=20), spoiled(1, rare=2, missing=25)
    south["colour"] = south["colour"].replace({"red": "crimson"})
    test = spoiled(2, rare=7, missing=3)
    run = trained(work, [north, south], test)
    results = run.results()
    counts = results.label_counts
    assert counts is not None
    assert (counts.target, counts.missing, counts.unpublished) == ("outcome", 45, 0)
    labels = pd.concat([north, south])["outcome"]
    assert counts.classes == tuple(int((labels == name).sum()) for name in results.classes)
    assert results.test_left_out == {"": 3, "rare": 7}
    assert results.test is not None
    assert results.test.num_examples == 590
    told = lines(results, verbose=False)
    assert f"no {counts.classes[0]:,}, yes {counts.classes[1]:,}" in told
    assert "at least 45 without a label" in told
    assert "left out of the public test file: 7 with outcome 'rare', 3 without a label" in told
    assert "2 differences between the pods' tables bridged; --verbose lists them" in told
    assert "bridged: colour: north does not publish crimson" in lines(results, verbose=True)
    page = write_report(run)[0].read_text()
    model = TrainedModel.load(run.model_path())
    for text in (page, card(model, Path("m.safetensors"), results.document())):
        assert "at least 45 without a label" in text
        assert "7 with outcome" in text


def test_rare_labels_are_counted_together_once_they_are_enough(work: Path) -> None:
    north, south = table(600, 0), table(600, 1)
    north.loc[:23, "outcome"] = list("abcdefghijkl") * 2
    counts = trained(work, [north, south]).results().label_counts
    assert counts is not None
    assert (counts.missing, counts.unpublished) == (0, 24)


@pytest.mark.parametrize(
    ("codes", "said"),
    [({"no": "No", "yes": "Yes"}, "spell a class differently"), ({"no": "-1", "yes": "1"}, "share no class")],
)
def test_a_target_that_pods_code_differently_is_refused_with_both_codings(
    work: Path, codes: dict[str, str], said: str
) -> None:
    north, south = table(600, 0), table(600, 1)
    south["outcome"] = south["outcome"].map(codes)
    with pytest.raises(UnfitData, match=said) as caught:
        trained(work, [north, south])
    assert "'north' has 'no', 'yes'" in str(caught.value)
    assert all(repr(code) in str(caught.value) for code in codes.values())


def test_one_class_spelt_otherwise_is_enough_to_be_refused(work: Path) -> None:
    north, south = table(600, 0), table(600, 1)
    south["outcome"] = south["outcome"].replace({"yes": "YES "})
    with pytest.raises((UnfitData, SchemaMismatch), match="spell a class differently"):
        trained(work, [north, south])
