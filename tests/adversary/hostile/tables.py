"""Three pods with tables of census columns, keys and files of their own: what the attacks are to read of."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from flwr.app import Context, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from numpy.typing import NDArray

from client.app.main import app
from client.app.row_split import split_rows
from fl_app.identity.known_pods import keygen
from tests.support.in_process import InProcessGrid

PODS = ("north", "south", "west")
ROWS: Mapping[str, int] = {"north": 1000, "south": 1040, "west": 980}
VALIDATION, TEST = 30, 10
TARGET = "income"
CLASSES = ("<=50K", ">50K")
CATEGORIES: Mapping[str, int] = {
    "workclass": 8,
    "education": 16,
    "marital": 7,
    "occupation": 14,
    "relationship": 6,
    "race": 5,
    "sex": 2,
    "country": 41,
}
"""Columns of categories, each with its number of values."""
NUMBERS = ("age", "education_years", "gain", "loss", "hours")


def table(rows: int, seed: int) -> pd.DataFrame:
    """Return made-up people: 13 attributes, skewed as the census' are, and the income."""
    rng = np.random.default_rng(seed)
    columns: dict[str, NDArray[np.int64] | list[str]] = {
        "age": np.clip(17 + rng.gamma(3.0, 8.0, rows), 17, 90).astype(np.int64),
        "education_years": np.clip(rng.normal(10, 2.6, rows).round(), 1, 16).astype(np.int64),
        "gain": np.where(rng.random(rows) < 0.09, rng.integers(100, 32000, rows), 0),
        "loss": np.where(rng.random(rows) < 0.05, rng.integers(200, 2500, rows), 0),
        "hours": np.clip(rng.normal(40, 12, rows).round(), 1, 99).astype(np.int64),
    }
    for name, size in CATEGORIES.items():
        shares = 0.75 ** np.arange(size)
        columns[name] = [f"{name}-{k:02}" for k in rng.choice(size, rows, p=shares / shares.sum())]
    frame = pd.DataFrame(columns)
    score = frame["age"] / 20 + frame["education_years"] / 4 + (frame["gain"] > 0) * 2 + rng.normal(0, 1, rows)
    frame[TARGET] = np.where(score > np.quantile(score, 0.65), CLASSES[1], CLASSES[0])
    return frame


@dataclass
class Pods:
    """Pods that approve each other, behind one in-process grid.

    Attributes
    ----------
    tables : mapping of name to DataFrame
        What is to be kept from the server.
    """

    directory: Path
    tables: Mapping[str, pd.DataFrame]
    policy: str = "{}"
    grid: InProcessGrid = field(init=False)
    nodes: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        home = self.directory / "home"
        for name, rows in self.tables.items():
            rows.to_csv(self.directory / f"{name}.csv", index=False)
            (self.directory / f"{name}.yaml").write_text(
                f"name: {name}\ndatasource: CSVSource\ndatasource_args: {{path: {name}.csv}}\n"
                f"data_config: {{validation_percent: {VALIDATION}, test_percent: {TEST}}}\n"
                f"approved_pods: [{', '.join(self.tables)}]\npolicy: {self.policy}\n"
            )
            keygen(name, home)
        self.nodes = {name: 100 + place for place, name in enumerate(self.tables)}
        configs = {
            node: {"pod": str(self.directory / f"{name}.yaml"), "home": str(home)} for name, node in self.nodes.items()
        }
        self.grid = InProcessGrid(app, configs)

    def new_run(self) -> int:
        """Begin another run, of which the pods remember nothing, and return its number."""
        number = secrets.randbits(60)
        for node, context in self.grid.contexts.items():
            self.grid.contexts[node] = Context(number, node, context.node_config, RecordDict(), {})
        self.grid.run_id = TaskIdentity.run_id = number
        return number

    def forget_replicas(self) -> None:
        """Take from the pods what they have followed of all runs, but for what is in their ledgers."""
        for path in (self.directory / "home").rglob("*.replica"):
            path.unlink()

    def rows(self, name: str, part: str) -> pd.DataFrame:
        """Return the rows that a pod keeps for "train", "validation" or "test"."""
        whole = self.tables[name]
        parts = split_rows(len(whole), name, validation_percent=VALIDATION, test_percent=TEST)
        return whole.iloc[parts[("train", "validation", "test").index(part)]]

    def pooled(self, part: str) -> pd.DataFrame:
        """Return all pods' rows of a part."""
        return pd.concat([self.rows(name, part) for name in self.tables], ignore_index=True)


def census(directory: Path, policy: str = "{}", **changed: pd.DataFrame) -> Pods:
    """Return the three pods with their usual tables, those of some in another's place if so wished."""
    tables = {name: table(ROWS[name], seed) for seed, name in enumerate(PODS)}
    return Pods(directory, tables | changed, policy)
