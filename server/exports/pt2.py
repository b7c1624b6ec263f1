"""PyTorch's own export: a graph that `torch.export.load` reads, with vocabulary and schema in its extra files.

It takes ``codes`` (int64 [n, c]) and ``numbers`` (float32 [n, p], NaN where missing) and gives probabilities,
float32 [n, C], or, where the target is a number, predictions, float32 [n, 1] in its unit. A number beyond 2^24 is
rounded as float32 rounds it. ``about.json`` has for each categorical column the codes of its texts, for each number the
spellings of missing, and in ``marks`` what to replace in its text.
"""

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from fl_app.tabular.cells import Table
from fl_app.tabular.encoding import Encoding, codes_of
from fl_app.tabular.model_errors import not_a_model
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.statistics import present_numbers
from server.exports.about import about, reading
from server.exports.graph import GraphModel
from server.exports.scorer import RawScorer
from server.exports.vocabulary import vocabulary

if TYPE_CHECKING:
    import pandas as pd

ABOUT, ROWS = "about.json", 4096

LOADER = """\
import csv, json, sys, torch, unicodedata
extra, clean = {"about.json": ""}, lambda text: unicodedata.normalize("NFC", text.strip())
score = torch.export.load(sys.argv[1], extra_files=extra).module()
about, lines = json.loads(extra["about.json"]), open(sys.argv[2], newline="", encoding="utf-8-sig").readlines()
table = csv.DictReader(lines, delimiter=max(",;\\t|", key=lines[0].count), skipinitialspace=True)
rows = [{clean(name): clean(cell) for name, cell in row.items() if name and cell} for row in table]
number = lambda cell, none: float("nan" if cell in none else cell.translate(str.maketrans(about["marks"])))
codes = [[known.get(row.get(name, ""), 0) for name, known in about["categorical"].items()] for row in rows]
numbers = [[number(row.get(name, ""), none) for name, none in about["continuous"].items()] for row in rows]
csv.writer(sys.stdout).writerows([about["classes"], *score(torch.tensor(codes).long(), torch.tensor(numbers)).tolist()])
"""
"""Ten lines that score a CSV file with a .pt2 file, without any of this package."""
_DATES = """\
from datetime import datetime, timezone
for row, (name, how) in ((row, date) for row in rows for date in about["reading"]["dates"].items()):
    if (cell := row.get(name, "")) not in about["continuous"][name]:
        when = datetime.strptime(cell, how["format"]) if how["format"] else datetime.fromisoformat(cell)
        when = when.astimezone(timezone.utc) if when.tzinfo else when.replace(tzinfo=timezone.utc)
        row |= {f"{name} (month)": f"{when:%m}", f"{name} (hour)": f"{when:%H}"}
        row |= {name: when.timestamp() / how["seconds"], f"{name} (weekday)": f"{when.isoweekday()} {when:%A}"}
number = lambda cell, none, text=number: cell if isinstance(cell, float) else text(cell, none)
"""
"""As many more where there are dates, which become numbers of their unit, and their parts categories."""


def loader(encoding: Encoding) -> str:
    """Return the program that scores a CSV file with a model of this encoding."""
    before, codes, after = LOADER.partition("codes = ")
    return f"{before}{_DATES if any(column.date for column in encoding.features) else ''}{codes}{after}"


def to_pt2(model: TrainedModel) -> bytes:
    """Export; the bytes are those of a ``.pt2`` file."""
    encoding = model.encoding
    # Three rows, since 0 and 1 are taken for constants.
    example = (torch.zeros(3, len(encoding.categorical), dtype=torch.int64), torch.zeros(3, len(encoding.continuous)))
    rows = torch.export.Dim("rows", min=0)
    program = torch.export.export(RawScorer(model, torch.float32), example, dynamic_shapes=({0: rows}, {0: rows}))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # where the source files lie: nothing for a file that travels
    facts, told = about(model), reading(encoding)
    facts |= {
        "categorical": {column.name: vocabulary(column, encoding.numbers) for column in encoding.categorical},
        "continuous": {column.name: told["missing"][column.name] for column in encoding.continuous},
        "marks": ({told["thousands"]: ""} if told["thousands"] else {}) | {told["decimal"]: "."},
    }
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={ABOUT: json.dumps(facts)})
    return content.getvalue()


class Pt2Model(GraphModel):
    """A ``.pt2`` file, opened for scoring. PyTorch unpickles parts of it: open only files you trust."""

    def __init__(self, path: Path) -> None:
        extra: dict[str, Any] = {ABOUT: ""}
        try:
            program = torch.export.load(io.BytesIO(path.read_bytes()), extra_files=extra)
            facts = json.loads(extra[ABOUT])
        except Exception as error:
            raise not_a_model(path, error) from error
        super().__init__(facts, path)
        self._score = program.module()

    def _outputs(self, rows: "Table | pd.DataFrame") -> NDArray[np.float64]:
        codes, numbers = _inputs(self._encoding, Table.of(rows))
        with torch.inference_mode():
            parts = zip(torch.split(codes, ROWS), torch.split(numbers, ROWS), strict=True)
            return torch.cat([self._score(*part) for part in parts]).double().numpy()


def _inputs(encoding: Encoding, table: Table) -> tuple[torch.Tensor, torch.Tensor]:
    codes = [codes_of(table, column) for column in encoding.categorical]
    numbers = [present_numbers(table, column) for column in encoding.continuous]
    rows = len(table)
    return (
        torch.from_numpy(np.array(codes, dtype=np.int64).reshape(len(codes), rows).T.copy()),
        torch.from_numpy(np.array(numbers, dtype=np.float32).reshape(len(numbers), rows).T.copy()),
    )
