"""Small tables under the owners' default terms: figures all the same, of rows that are named."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets, metrics

from client.app.row_split import split_rows
from fl_app.config import RunConfig
from fl_app.federation.kinds import SimulatedFederation, read_federation
from fl_app.identity.known_pods import keygen
from fl_app.tabular.early_stopping import EarlyStopping
from fl_app.tabular.intervals import wilson
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.settings import DataStructure
from server.app.results import Metrics
from server.app.run_directory import RunDirectory
from server.display.report import write_report
from server.display.scored_rows import figures_told, scored_rows
from server.display.words import metrics_by_rows
from server.modeller.launch import fit

TARGET = "cultivar"


def wine() -> pd.DataFrame:
    frame = datasets.load_wine(as_frame=True).frame
    names = np.array(["barolo", "grignolino", "barbera"])
    return frame.assign(target=names[frame["target"]]).rename(columns={"target": TARGET}).sample(frac=1, random_state=3)


def federation_of(
    directory: Path, tables: Mapping[str, pd.DataFrame], policies: Mapping[str, str], public: pd.DataFrame | None = None
) -> SimulatedFederation:
    """Write pods with these tables and terms, and no others than the defaults beside them."""
    for name, rows in tables.items():
        rows.to_csv(directory / f"{name}.csv", index=False)
        (directory / f"{name}.yaml").write_text(
            f"name: {name}\ndatasource: CSVSource\ndatasource_args: {{path: {name}.csv}}\n"
            f"approved_pods: [{', '.join(tables)}]\npolicy: {{{policies.get(name, policies[''])}}}\n"
        )
        keygen(name, directory / "home")
    files = ", ".join(f'"{name}.yaml"' for name in tables)
    text = f'[federation.few]\nkind = "simulation"\npods = [{files}]\nhome = "home"\n'
    if public is not None:
        public.to_csv(directory / "public.csv", index=False)
        text += f'test_file = "public.csv"\ntest_target = "{TARGET}"\n'
    (directory / "fl-app.toml").write_text(text)
    made = read_federation(directory / "fl-app.toml", "few")
    assert isinstance(made, SimulatedFederation)
    return made


def trained(work: Path, federation: SimulatedFederation, **settings: object) -> RunDirectory:
    given = {"rounds": 2, "local_epochs": 3, "batch_size": 8, **settings}
    config = RunConfig(pods=federation.pod_identifiers, datastructure=DataStructure(target=TARGET), **given)
    return fit(config, federation, runs=work / "runs")


def assert_exact(found: Metrics, model: TrainedModel, rows: pd.DataFrame, auc_error: float | None) -> None:
    """Compare figures over all ``rows`` with those that scikit-learn finds."""
    truth, scores = rows[TARGET].to_numpy(), model.predict_proba(rows)
    named = np.array(model.classes)[scores.argmax(axis=1)]
    assert found.num_examples == len(rows)
    assert found.accuracy == pytest.approx(metrics.accuracy_score(truth, named))
    if found.intervals:
        assert found.intervals["accuracy"] == pytest.approx(wilson((truth == named).sum(), len(rows)))
    assert found.loss == pytest.approx(metrics.log_loss(truth, scores, labels=list(model.classes)), abs=1e-5)
    present = sorted(set(truth))
    assert found.recall == pytest.approx(metrics.recall_score(truth, named, labels=present, average="macro"))
    areas = [metrics.roc_auc_score(truth == one, scores[:, model.classes.index(one)]) for one in present]
    assert found.auc == pytest.approx(np.mean(areas), abs=max(2e-3, auc_error or 0.0))


def held_out(tables: Mapping[str, pd.DataFrame], part: int) -> pd.DataFrame:
    return pd.concat([rows.iloc[split_rows(len(rows), name)[part]] for name, rows in tables.items()])


def test_two_pods_of_sixty_rows_and_three_classes_have_figures(work: Path) -> None:
    rows = wine()
    tables = {"north": rows[:60], "south": rows[60:124]}
    run = trained(
        work, federation_of(work, tables, {"": "minimum_cohort: 2"}), early_stopping=EarlyStopping(metric="loss")
    )
    results, model = run.results(), TrainedModel.load(run.model_path())
    assert results.final is not None
    assert_exact(results.final, model, held_out(tables, 2), results.auc_error)
    assert set(results.final.intervals) == {"accuracy"}
    assert results.counted["test"].pods == results.counted["validation"].pods == ("north", "south")
    if results.kept == 2:
        assert_exact(results.rounds[-1], model, held_out(tables, 1), 0.1)
    assert not any("figures over" in text for text in figures_told(results))


def test_a_pod_that_adds_no_rows_is_named_wherever_the_figures_are(work: Path) -> None:
    rows = wine()
    tables = {"north": rows[:60], "south": rows[60:124], "west": rows[124:]}
    strict = {"": "minimum_cohort: 2", "west": "minimum_cohort: 2, minimum_rows_per_class: 20"}
    run = trained(work, federation_of(work, tables, strict, public=rows))
    results, model = run.results(), TrainedModel.load(run.model_path())
    assert results.final is not None
    assert_exact(
        results.final, model, held_out({name: tables[name] for name in ("north", "south")}, 2), results.auc_error
    )
    assert results.counted["test"].pods == ("north", "south")
    assert scored_rows(results).label == "test rows of 2 of 3 pods"
    assert "final, test rows of 2 of 3 pods" in [row.label for row in metrics_by_rows(results)]
    told = "\n".join(figures_told(results))
    assert "figures over the pods' test rows are of 2 of 3 pods: west: each keeps none, or fewer" in told
    assert "auc, public test file" in write_report(run)[0].read_text()


def test_classes_that_too_few_pods_have_are_told_and_counted_together(work: Path) -> None:
    rows = wine()
    tables = {
        name: part[~part[TARGET].isin(lacking)]
        for name, part, lacking in zip(
            ("north", "south", "west"),
            (rows[:60], rows[60:120], rows[120:]),
            (["barbera"], ["grignolino"], []),
            strict=True,
        )
    }
    run = trained(work, federation_of(work, tables, {"": "minimum_evaluation_rows: 2"}))
    results, model = run.results(), TrainedModel.load(run.model_path())
    assert results.final is not None
    assert results.counted["test"].together == ("barbera", "grignolino")
    test = held_out(tables, 2)
    named = np.array(model.classes)[model.predict_proba(test).argmax(axis=1)]
    assert results.final.num_examples == len(test)
    assert results.final.accuracy == pytest.approx((named == test[TARGET]).mean())
    assert results.final.recall == pytest.approx((named == test[TARGET])[test[TARGET] == "barolo"].mean())
    assert results.final.auc is None  # there is one class with counts of its own, and nothing to compare it with
    json.loads((run.path / "results.json").read_text(), parse_constant=pytest.fail)  # as it is called for a NaN
    assert "fewer have enough rows to publish class 'barbera' (at south, west), class 'grignolino'" in "\n".join(
        figures_told(results)
    )


def test_where_nothing_is_counted_a_line_says_what_would_help(work: Path) -> None:
    rows = wine()
    tables = {"north": rows[:60], "south": rows[60:124]}
    results = trained(
        work, federation_of(work, tables, {"": "minimum_cohort: 2, minimum_evaluation_rows: 100"})
    ).results()
    assert results.final is not None
    assert results.final.accuracy is None
    line = next(text for text in figures_told(results) if text.startswith("no figures over the pods' rows"))
    assert "north, south: each keeps none, or fewer test rows than its owner wants counted" in line
    assert "a larger test_percent or lower terms would help" in line
    assert line.endswith("a test file of your own (--test-file) gives figures without any pod's rows")
