"""What a description says of the pods' tables, computed once more by pandas on the pooled rows."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets

from client.app.row_split import split_rows
from fl_app.tabular.schema import Column
from fl_app.tabular.statistics import VARIANCE, grid
from server.app.description_result import QUANTILES, ColumnDescription, DescriptionResult
from server.modeller.description import described, description_config
from tests.support.small_federation import PODS, InProcess, small_federation, table

LEAST = 3
"""``minimum_category_count`` of the pods."""
DEVIATION = math.sqrt(2 * VARIANCE)
"""Of the noise in a count: with a minimum cohort of two, the share of each pod is all of it."""
CENSUS = Path(__file__).resolve().parents[3] / "fl_app" / "demo" / "data"


def small() -> list[pd.DataFrame]:
    frames = [table(600, seed) for seed in range(2)]
    for seed, frame in enumerate(frames):
        frame["income"] = np.round(np.random.default_rng(seed).gamma(2, 700, len(frame)), 2)
        frame.loc[:1, "colour"] = "mauve"  # fewer than a pod publishes
    return frames


def census() -> list[pd.DataFrame]:
    names = ("census-income-demo-dataset", "census-income-yaml-demo-dataset")
    return [pd.read_csv(CENSUS / f"{name}.csv.gz").drop(columns="fnlwgt")[:3000] for name in names]


def breast() -> list[pd.DataFrame]:
    frame = datasets.load_breast_cancer(as_frame=True).frame.rename(columns={"target": "benign"})
    return [frame[::2].reset_index(drop=True), frame[1::2].reset_index(drop=True)]


TABLES: dict[str, tuple[Callable[[], list[pd.DataFrame]], str]] = {
    "small": (small, "outcome"),
    "census": (census, "TARGET"),
    "breast": (breast, "benign"),
}


class Described(NamedTuple):
    """A description and the rows it is of, as pandas reads them: all of each pod, and those trained on."""

    result: DescriptionResult
    pods: list[pd.DataFrame]
    train: pd.DataFrame
    target: str

    def columns(self, kind: str) -> list[ColumnDescription]:
        return [column for column in self.result.columns if column.kind == kind]

    def counts(self, *names: str) -> dict[object, int]:
        """Count rows by the texts of columns at each pod, none of few rows, and add them up."""
        total: dict[object, int] = {}
        for frame in self.pods:
            texts = [frame[name].map(text_of) for name in names]
            for key, count in pd.concat(texts, axis=1).value_counts(dropna=False).items():
                if count >= LEAST:
                    total[key] = total.get(key, 0) + int(count)
        return total


def text_of(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:g}"
    return "" if value is None else str(value).strip()


def describe(make: Callable[[], list[pd.DataFrame]], target: str, directory: Path) -> Described:
    federation = small_federation(directory)
    for name, frame in zip(PODS, make(), strict=True):
        frame.to_csv(directory / f"{name}.csv", index=False)
    run = described(description_config(PODS, target=target), federation, directory / "runs")
    result = run.results().description
    assert result is not None
    pods = [pd.read_csv(directory / f"{name}.csv", na_values=["?"]) for name in PODS]
    parts = [split_rows(len(frame), name)[0] for name, frame in zip(PODS, pods, strict=True)]
    train = pd.concat([frame.iloc[part] for frame, part in zip(pods, parts, strict=True)], ignore_index=True)
    return Described(result, pods, train, target)


@pytest.fixture(scope="module", params=TABLES)
def exact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Described:
    return _described(request.param, tmp_path_factory, noise=False)


@pytest.fixture(scope="module", params=TABLES)
def noised(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Described:
    return _described(request.param, tmp_path_factory, noise=True)


def _described(name: str, factory: pytest.TempPathFactory, *, noise: bool) -> Described:
    directory = factory.mktemp(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FL_APP_HOME", str(directory / "home"))
        patch.setattr("server.modeller.launch.launcher_for", lambda federation: InProcess())
        if not noise:
            nothing = np.zeros
            patch.setattr("client.app.noised_sums.discrete_gaussian", lambda variance, size, _: nothing(size, int))
        return describe(*TABLES[name], directory)


def grid_of(column: ColumnDescription) -> np.ndarray:
    return grid(Column(name="x", kind="continuous", low=column.low, high=column.high, integer=column.whole))


# --- without noise: to the row, and to the cell of the grid


def test_rows_and_columns(exact: Described) -> None:
    assert exact.result.rows == sum(map(len, exact.pods))
    assert exact.result.train_rows == len(exact.train)
    assert [column.name for column in exact.result.columns] == list(exact.train.columns)
    assert exact.result.target == exact.target
    assert all(column.pods == len(PODS) for column in exact.result.columns)


def test_numbers(exact: Described) -> None:
    found = exact.columns("continuous")
    assert found
    for column in found:
        values = exact.train[column.name].dropna().to_numpy(float)
        assert column.rows == len(values)
        assert column.missing == pytest.approx(1 - len(values) / len(exact.train), abs=1e-6)
        assert column.low is not None
        assert column.high is not None
        half = (column.high - column.low) / 2
        near = half / len(values)  # sums travel rounded to whole rows at each pod
        assert column.mean == pytest.approx(values.mean(), abs=2 * near)
        if column.std is None:
            assert values.var() / half**2 < 10 * DEVIATION / len(values) + 4 / len(values)
        else:
            assert abs(column.std**2 - values.var()) <= 8 * near * half


def test_quantiles_and_histograms(exact: Described) -> None:
    shown = [column for column in exact.columns("continuous") if column.quantiles]
    if len(exact.train) < 600:  # of some 450 rows noise would leave no quantile
        assert len(shown) < len(exact.columns("continuous"))
    for column in shown:
        values, edges = exact.train[column.name].dropna().to_numpy(float), grid_of(column)
        right = np.quantile(values, QUANTILES, method="inverted_cdf")
        for given, wanted in zip(column.quantiles, right, strict=True):
            cell = int(np.clip(np.searchsorted(edges, wanted, side="right") - 1, 0, len(edges) - 2))
            assert edges[cell] <= given <= edges[cell + 1]
            if column.whole and edges[cell + 1] - edges[cell] == 1:
                assert given == wanted
        counts = np.histogram(values, column.histogram_edges)[0]
        counts[-1] -= (values == column.histogram_edges[-1]).sum()  # pandas' last bin has its upper edge, a cell not
        assert list(column.histogram_rows) == counts.tolist()
        assert counts.sum() >= 0.97 * len(values)


def test_categories(exact: Described) -> None:
    for column in exact.columns("categorical"):
        counts = exact.counts(column.name)
        told = {entry.value: entry.rows for entry in column.categories}
        right = {key[0]: count for key, count in counts.items() if key[0] in told}  # type: ignore[index]
        assert told == {value: right.get(value, 0) for value in told}
        assert list(told.values()) == sorted(told.values(), reverse=True)
        missing = counts.get(("",), 0)
        held = sum(told.values()) + column.unpublished
        chance = 3 * DEVIATION
        assert column.missing == pytest.approx(missing / (held + missing) if missing > chance else 0, abs=1e-6)


def test_rows_by_class(exact: Described) -> None:
    classes = list(exact.result.classes)
    assert set(classes) == set(exact.train[exact.target].dropna().map(text_of))
    for column in exact.result.columns:
        if column.name == exact.target:
            assert not column.balance
            continue
        assert column.balance
        *cells, missing = column.balance
        assert missing.missing
        if column.kind == "categorical":
            counts = exact.counts(column.name, exact.target)
            for entry in cells:
                assert list(entry.rows) == [counts.get((entry.value, label), 0) for label in classes]
            assert list(missing.rows) == [counts.get(("", label), 0) for label in classes]
        else:
            assert len(cells) <= 8
            for place, entry in enumerate(cells):
                total = [0] * len(classes)
                for frame in exact.pods:
                    values = frame[column.name]
                    upper = values <= entry.high if column.whole or place + 1 == len(cells) else values < entry.high
                    inside = frame[(values >= entry.low) & upper][exact.target].map(text_of)
                    counts = [int((inside == label).sum()) for label in classes]
                    total = [a + (b if b >= LEAST else 0) for a, b in zip(total, counts, strict=True)]
                assert list(entry.rows) == total, (column.name, entry)


# --- with noise: as far off as the noise allows


def test_what_noise_does_to_rows_and_categories(noised: Described) -> None:
    noise = noised.result.noise
    assert noise["rows"] == pytest.approx(math.sqrt(2 * 18), abs=0.01)
    assert abs(noised.result.rows - sum(map(len, noised.pods))) < 6 * noise["rows"]
    assert abs(noised.result.train_rows - len(noised.train)) < 6 * noise["rows"]
    off = []
    for column in noised.columns("categorical"):
        counts = noised.counts(column.name)
        off += [entry.rows - counts.get((entry.value,), 0) for entry in column.categories]
    assert max(map(abs, off)) < 6 * noise["categories"]
    assert any(off) or len(off) < 10  # two counts have no noise once in a hundred times, the census' counts never


def test_what_noise_does_to_numbers(noised: Described) -> None:
    for column in noised.columns("continuous"):
        values = noised.train[column.name].dropna().to_numpy(float)
        assert column.rows is not None
        assert column.low is not None
        assert column.high is not None
        half = (column.high - column.low) / 2
        assert abs(column.rows - len(values)) < 6 * DEVIATION
        assert column.mean is not None
        assert column.mean_error is not None
        assert column.mean_error < 1.5 * half * DEVIATION / len(values)
        assert abs(column.mean - values.mean()) < 6 * column.mean_error + 2 * half / len(values)
        if column.std is not None:
            assert abs(column.std**2 - values.var()) <= 6 * 2.5 * (DEVIATION + 1) * half**2 / len(values)


def test_what_noise_does_to_quantiles(noised: Described) -> None:
    for column in noised.columns("continuous"):
        values, edges = noised.train[column.name].dropna().to_numpy(float), grid_of(column)
        assert column.rank_error is not None
        assert bool(column.quantiles) == (column.rank_error <= 0.05)
        for share, given in zip(QUANTILES, column.quantiles, strict=False):
            cell = int(np.clip(np.searchsorted(edges, given, side="right") - 1, 0, len(edges) - 2))
            below, upto = (values < edges[cell]).mean(), (values < edges[cell + 1]).mean()
            allowed = 6 * (column.rank_error + DEVIATION / len(values))
            assert below - allowed <= share <= upto + allowed


def test_what_noise_does_to_rows_by_class(noised: Described) -> None:
    noise, classes = noised.result.noise["balance"], noised.result.classes
    off = []
    for column in noised.columns("categorical"):
        if column.name == noised.target:
            continue
        counts = noised.counts(column.name, noised.target)
        for entry in column.balance[:-1]:
            right = [counts.get((entry.value, label), 0) for label in classes]
            off += [given - wanted for given, wanted in zip(entry.rows, right, strict=True)]
    assert max(map(abs, off), default=0) < 6 * noise
