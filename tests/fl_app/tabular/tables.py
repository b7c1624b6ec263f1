"""Tables that the tests of this room share."""

import numpy as np
import pandas as pd

from fl_app.tabular.encoding import Encoding, statistic_sums
from fl_app.tabular.schema import schema_of
from fl_app.tabular.settings import DataStructure

TARGET = DataStructure(target="bought")


def shop(rows: int = 600, seed: int = 0, classes: tuple[str, ...] = ("no", "yes")) -> pd.DataFrame:
    """A learnable table: two numbers (one nearly always zero, one with gaps) and two categories (one with gaps)."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 90, rows).astype(float)
    gift = np.where(rng.random(rows) < 0.1, rng.choice([250, 3000, 70000], rows), 0)
    town = rng.choice(["Aachen", "Bonn", "Celle"], rows)
    level = (age > 50).astype(int) + (gift == 3000) + (town == "Bonn")
    bought = np.array(classes)[np.clip(level + (rng.random(rows) < 0.1), 0, len(classes) - 1)]
    frame = pd.DataFrame({"age": age, "gift": gift, "town": town, "colour": rng.choice(["red", "blue"], rows)})
    frame.loc[rng.random(rows) < 0.05, "age"] = np.nan
    frame.loc[rng.random(rows) < 0.05, "colour"] = None
    return frame.assign(bought=bought)


def encoding_of(frame: pd.DataFrame, datastructure: DataStructure = TARGET) -> Encoding:
    schema = schema_of(frame, name="shop")
    return Encoding.of(schema, datastructure, statistic_sums(frame, schema, datastructure))
