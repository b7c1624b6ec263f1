"""Whole runs over files as people write them, in this process, and scores of new files by the model that comes out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from fl_app.config import RunConfig
from fl_app.tabular.evaluation import score
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.settings import DataStructure, Optimizer
from fl_app.tabular.table_file import read_rows
from server.modeller.launch import fit
from tests.support.small_federation import PODS, small_federation


def trained(
    directory: Path,
    files: tuple[str, str],
    target: str,
    read_options: Mapping[str, Any] | None = None,
    data_config: Mapping[str, Any] | None = None,
) -> tuple[TrainedModel, dict[str, Any]]:
    """Train over north and south with files of this content; returns the model and the results."""
    federation = small_federation(directory)
    for name, content in zip(PODS, files, strict=True):
        (directory / f"{name}.csv").write_text(content, "utf-8")
        path = directory / f"{name}.yaml"
        pod = yaml.safe_load(path.read_text())
        pod["datasource_args"] = {"path": f"{name}.csv", "read_options": dict(read_options or {})}
        path.write_text(yaml.safe_dump(pod | {"data_config": dict(data_config or {})}))
    (directory / "fl-app.toml").write_text(
        '[federation.small]\nkind = "simulation"\npods = ["north.yaml", "south.yaml"]\nhome = "home"\n'
    )
    config = RunConfig(
        pods=PODS,
        datastructure=DataStructure(target=target),
        rounds=3,
        local_epochs=3,
        batch_size=64,
        optimizer=Optimizer(name="AdamW", params={"lr": 0.01}),
    )
    run = fit(config, federation.model_copy(update={"test_file": None, "test_target": None}), runs=directory / "runs")
    return TrainedModel.load(run.model_path()), run.results().document()


def scores(model: TrainedModel, directory: Path, content: str, **options: Any) -> np.ndarray[Any, Any]:
    path = directory / "new.csv"
    path.write_text(content, "utf-8")
    return model.predict_proba(read_rows(path, model.encoding, options))


def wards(seed: int, rows: int, codes: tuple[str, ...]) -> pd.DataFrame:
    """Patients of wards with codes; those of ward 007 are nearly all discharged late."""
    rng = np.random.default_rng(seed)
    ward = rng.choice(codes, rows)
    late = np.where(rng.random(rows) < np.where(ward == "007", 0.95, 0.05), "late", "soon")
    return pd.DataFrame({"stay": late, "ward": ward, "beds": rng.integers(2, 40, rows)})


def test_a_code_means_the_same_beside_any_others(work: Path) -> None:
    codes = ("007", "012", "900000000000207008", "W3")
    north, south = wards(0, 600, codes[:3]), wards(1, 600, codes)  # north has nothing but digits
    south.loc[::25, "ward"] = ""
    model, results = trained(work, (north.to_csv(index=False), south.to_csv(index=False)), "stay")
    assert model.encoding.categorical[0].values == codes
    assert results["rounds"][-1]["auc"] > 0.85
    new = wards(2, 200, codes[:2])
    known = (new["stay"] == "soon").to_numpy(np.int64)
    alone = scores(model, work, new.to_csv(index=False))
    assert score(known, alone)["auc"] > 0.85
    longer = pd.concat([new, wards(3, 1, ("W3",))])
    np.testing.assert_allclose(scores(model, work, longer.to_csv(index=False))[:200], alone, atol=1e-6)


def test_booleans_in_capitals_beside_another_word_are_one_category(work: Path) -> None:
    rng = np.random.default_rng(4)
    files = []
    for words in (("TRUE", "FALSE"), ("TRUE", "FALSE", "DISCORDANT")):
        found = rng.choice(words, 600)
        files.append("hit,grade\n" + "".join(f"{w},{'high' if w == 'TRUE' else 'low'}\n" for w in found))
    model, _ = trained(work, (files[0], files[1]), "grade")
    assert model.encoding.categorical[0].values == ("DISCORDANT", "FALSE", "TRUE")
    first, second = scores(model, work, "hit\nTRUE\n"), scores(model, work, "hit\nTrue\nDISCORDANT\n")
    np.testing.assert_allclose(first[0], second[0], atol=1e-6)


def labs(seed: int, rows: int) -> pd.DataFrame:
    """A table in which NA is Namibia, and -999 a lab value that was not measured; both decide the outcome."""
    rng = np.random.default_rng(seed)
    country, lab = rng.choice(["NA", "ZA", "BW"], rows), rng.normal(50, 10, rows).round(1).astype(object)
    lab[rng.random(rows) < 0.3] = -999
    ill = rng.random(rows) < np.where(country == "NA", 0.95, np.where(lab == -999, 0.7, 0.05))
    return pd.DataFrame({"outcome": np.where(ill, "ill", "well"), "lab ": lab, "country": country})


def test_a_model_reads_new_files_as_its_pods_read_theirs(work: Path) -> None:
    options = {"keep_default_na": False, "na_values": ["-999"]}
    texts = [labs(seed, 900).to_csv(index=False) for seed in (0, 1)]
    model, results = trained(work, (texts[0], texts[1]), "outcome", options, {"bounds": {"lab": [0, 128]}})
    new = labs(2, 500)
    known = (new["outcome"] == "well").to_numpy(np.int64)
    found = scores(model, work, new.to_csv(index=False))
    assert score(known, found)["auc"] > 0.85
    as_semicolons = new.rename(columns={"lab ": "lab"}).to_csv(index=False, sep=";")
    np.testing.assert_array_equal(scores(model, work, as_semicolons), found)
    frame = new.rename(columns={"lab ": "lab"}).replace(-999, np.nan).astype({"lab": float})
    np.testing.assert_array_equal(model.predict_proba(frame), found)
    assert results["rounds"][-1]["auc"] > 0.8


def test_a_decimal_comma_is_the_models_own(work: Path) -> None:
    rng = np.random.default_rng(0)

    def made(rows: int) -> pd.DataFrame:
        amount = rng.normal(2000, 900, rows).round(2)
        return pd.DataFrame({"risk": np.where(amount > 2000, "bad", "good"), "amount": amount, "age": 40})

    files = [made(600).to_csv(index=False, sep=";", decimal=",") for _ in PODS]
    model, _ = trained(work, (files[0], files[1]), "risk", {"sep": ";", "decimal": ","})
    new = made(300)
    found = scores(model, work, new.to_csv(index=False, sep=";", decimal=","))
    assert score((new["risk"] == "good").to_numpy(np.int64), found)["auc"] > 0.95
    np.testing.assert_array_equal(scores(model, work, new.to_csv(index=False), decimal="."), found)
    np.testing.assert_array_equal(model.predict_proba(new), found)


def test_rows_that_end_in_a_separator_are_those_of_the_header(work: Path) -> None:
    plain = [wards(seed, 600, ("007", "012", "W3")).to_csv(index=False) for seed in (0, 1)]
    header, *lines = plain[1].splitlines()
    trailing = "\n".join([header, *(f"{line}," for line in lines), ""])
    model, results = trained(work, (plain[0], trailing), "stay")
    _, usual = trained(work, (plain[0], plain[1]), "stay")
    assert results["rounds"][-1]["auc"] == pytest.approx(usual["rounds"][-1]["auc"])
    np.testing.assert_array_equal(scores(model, work, trailing), scores(model, work, plain[1]))


def test_a_class_may_be_called_none(work: Path) -> None:
    rng = np.random.default_rng(0)
    files = []
    for _ in PODS:
        dose = rng.normal(50, 20, 900).round(1)
        grade = np.select([dose < 40, dose < 60], ["None", "Mild"], "Severe")
        files.append(pd.DataFrame({"toxicity": grade, "dose": dose}).to_csv(index=False))
    model, results = trained(work, (files[0], files[1]), "toxicity")
    assert model.classes == ("Mild", "None", "Severe")
    assert results["rounds"][0]["weight"] == 2 * 900 * 80 // 100
    assert results["rounds"][-1]["accuracy"] > 0.8
    assert scores(model, work, "dose\n3.5\n")[0].argmax() == 1


def test_a_table_of_categories_alone_is_learnt(work: Path) -> None:
    rows = "edible,none,one\npoisonous,foul,two\nedible,almond,one\n" * 60
    model, results = trained(work, (f"class,odor,ring\n{rows}", f"class,odor,ring\n{rows}"), "class")
    assert not model.encoding.continuous
    assert results["rounds"][-1]["accuracy"] == 1
    assert scores(model, work, "odor,ring\nfoul,two\nalmond,one\n").argmax(axis=1).tolist() == [1, 0]
