"""Networks that an attacker makes by hand: hidden units that fire where a row has chosen values."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_app.tabular.encoding import Encoding, Normalisation
from fl_app.tabular.network import HIDDEN, build_network, state_of
from fl_app.tabular.schema import Column, Schema
from fl_app.tabular.statistics import cell_of

WIDTH = 16
"""Width in which `fl_app.tabular.network.Columns` embeds a column."""
UNITS = HIDDEN[0]
State = dict[str, NDArray[Any]]


def encoding_of(schema: Schema, target: Column) -> Encoding:
    """Return an encoding that tells every whole number from every other, as far as 512 codes go.

    ``schema`` gives the features, all but the target.
    """
    features = tuple(column for column in schema.columns if column.name != target.name)
    numbers = [column for column in features if column.kind == "continuous"]
    cells = [_cells(column) for column in numbers]
    normalisation = Normalisation(
        mean=(0.0,) * len(numbers),
        std=tuple(max(map(abs, column.bounds)) for column in numbers),
        bins=tuple(column.bounds for column in numbers),
        cells=tuple(cells),
        codes=tuple(tuple(range(1, len(edges))) for edges in cells),
    )
    return Encoding(target=target.as_categories(), features=features, normalisation=normalisation)


def _cells(column: Column) -> tuple[float, ...]:
    low, high = column.bounds
    wanted = min(int(high - low) + 2, 512)
    return tuple(np.linspace(low - 0.5, high + 0.5, wanted).tolist())


@dataclass
class Crafted:
    """The network "mlp" with hidden units of one's own making.

    In each column's embedding the first numbers are a code that no two values share; the last is an indicator for each
    of the wanted sets of values, of which there may be as many as units.
    """

    encoding: Encoding

    def __post_init__(self) -> None:
        self.state = self.blank()
        rng = np.random.default_rng(5)
        numbers = len(self.encoding.continuous)
        # Each code is a vector of signs of its own, but for that of a missing number.
        self.bins = _signs(rng, sum(self.encoding.bin_counts))
        self.codes = _signs(rng, sum(self.encoding.cardinalities))
        self.state["bins.table.weight"][...] = self.bins
        self.state["codes.table.weight"][...] = self.codes
        # A number itself, as a share of its range: each bin counts as wide as it is.
        for place, bins in enumerate(self.encoding.normalisation.bins):
            widths = np.diff(bins) / (bins[-1] - bins[0])
            self.state["numbers.weight"][place, : len(widths), 0] = widths
        self.starts = {c.name: (numbers + i) * WIDTH for i, c in enumerate(self.encoding.continuous)}
        self.starts |= {c.name: (2 * numbers + i) * WIDTH for i, c in enumerate(self.encoding.categorical)}

    def blank(self) -> State:
        """Return the network's parameters, all of them zero."""
        return {name: np.zeros_like(array) for name, array in state_of(build_network(self.encoding, "mlp", 0)).items()}

    def fire(self, unit: int, codes: Mapping[str, int], steepness: float = 1.0) -> None:
        """Have a hidden unit of the first layer give ``steepness`` for rows with these codes, and 0 for all others."""
        weight, bias = self.state["layers.0.weight"], self.state["layers.0.bias"]
        weight[unit], bias[unit] = 0, 0
        for column, code in codes.items():
            (table, first), start = self.table(column), self.starts[column]
            weight[unit, start : start + WIDTH] = steepness * table[first + code] / 2
        # Two vectors of signs differ in one place at least: that costs 1 of 8 a column.
        bias[unit] = steepness * (1 - len(codes) * WIDTH / 2)

    def listen(self, strength: float = 0.01) -> None:
        """Let every unit of the first layer have the same small part in the logits, through all of the second."""
        self.state["layers.3.weight"][...] = strength
        self.state["layers.3.bias"][...] = 1.0
        self.state["layers.6.weight"][1, :] = 1 / HIDDEN[1]  # all of them, so that dropout silences none
        self.state["layers.6.bias"][0] = 1.0

    def row_in(self, update: Mapping[str, NDArray[Any]], unit: int) -> dict[str, float | str] | None:
        """Return the row that a unit alone has seen, with its label; None if it saw none, or several."""
        given = float(update["layers.0.bias"][unit])
        if abs(given) < 1e-9:
            return None
        seen = update["layers.0.weight"][unit] / given
        found: dict[str, float | str] = {}
        for i, column in enumerate(self.encoding.continuous):
            code = self._nearest(seen, column.name)
            share = float(seen[i * WIDTH])
            if code is None or not -0.001 < share < 1.001:
                return None
            low, high = self.encoding.normalisation.bins[i][0], self.encoding.normalisation.bins[i][-1]
            found[column.name] = low + share * (high - low)
        for column in self.encoding.categorical:
            code = self._nearest(seen, column.name)
            if code is None or code < 2:
                return None
            found[column.name] = column.values[code - 2]
        found[self.encoding.target.name] = self.encoding.labels[int(given > 0)]
        return found

    def _nearest(self, seen: NDArray[Any], column: str) -> int | None:
        """Return the one code whose signs stand at a column's place, None if none stand there."""
        table, start = self.table(column)
        size = self.codes_of(column)
        part = seen[self.starts[column] : self.starts[column] + WIDTH]
        far = np.abs(table[start : start + size] - part).max(axis=1)
        best = int(far.argmin())
        return best if far[best] < 0.05 else None

    def table(self, column: str) -> tuple[NDArray[np.float32], int]:
        """Return the embedding table in which a column is, and where there its codes begin."""
        for table, columns, counts in (
            (self.bins, self.encoding.continuous, self.encoding.bin_counts),
            (self.codes, self.encoding.categorical, self.encoding.cardinalities),
        ):
            for place, known in enumerate(columns):
                if known.name == column:
                    return table, sum(counts[:place])
        raise LookupError(column)

    def codes_of(self, column: str) -> int:
        """Return how many codes a column has."""
        return dict(zip(self.starts, (*self.encoding.bin_counts, *self.encoding.cardinalities), strict=True))[column]

    def code(self, column: str, value: float | str) -> int:
        """Return the code of a value of a column."""
        known = next(c for c in self.encoding.features if c.name == column)
        if known.kind == "categorical":
            return 2 + known.values.index(str(value))
        place = self.encoding.continuous.index(known)
        normalisation = self.encoding.normalisation
        cell = cell_of(np.array([float(value)]), np.array(normalisation.cells[place]))
        return normalisation.codes[place][int(cell[0])]


def predicate(encoding: Encoding, values: Mapping[str, Collection[float | str]], gain: float) -> Crafted:
    """Return the network "mlp" whose logits are ``-gain`` and ``gain`` for a row with one of these values in each
    column, and 0 for any other; so many units have a part in it that dropout changes little.
    """
    crafted = Crafted(encoding)
    state = crafted.state = crafted.blank()
    for column, wanted in values.items():
        table, start = crafted.table(column)
        name = "bins.table.weight" if table is crafted.bins else "codes.table.weight"
        for value in wanted:
            state[name][start + crafted.code(column, value), 0] = 1
        state["layers.0.weight"][:, crafted.starts[column]] = 1
    state["layers.0.bias"][...] = 1 - len(values)
    state["layers.3.weight"][...] = 1 / HIDDEN[0]
    state["layers.6.weight"][0], state["layers.6.weight"][1] = -gain / HIDDEN[1], gain / HIDDEN[1]
    return crafted


def _signs(rng: np.random.Generator, rows: int) -> NDArray[np.float32]:
    """Return rows of WIDTH signs that all differ."""
    chosen = rng.choice(1 << (WIDTH - 1), rows, replace=False)
    bits = (chosen[:, None] >> np.arange(WIDTH)) & 1
    return (2 * bits - 1).astype(np.float32)
