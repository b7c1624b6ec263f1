"""PyTorch's own export: a graph that `torch.export.load` reads, with vocabulary and schema in its extra files.

It takes ``codes`` (int64 [n, c]) and ``numbers`` (float32 [n, p], NaN where missing) and gives probabilities,
float32 [n, C]. A number beyond 2^24 is rounded as float32 rounds it.
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
from fl_app.tabular.model_file import TrainedModel, not_a_model
from fl_app.tabular.statistics import present_numbers
from server.exports.about import about, encoding_of
from server.exports.scorer import RawScorer
from server.exports.vocabulary import vocabulary

if TYPE_CHECKING:
    import pandas as pd

ABOUT, ROWS = "about.json", 4096

LOADER = """\
import csv, json, sys, torch
extra = {"about.json": ""}
score = torch.export.load(sys.argv[1], extra_files=extra).module()
about = json.loads(extra["about.json"])
rows = [{k: v.strip() for k, v in row.items()} for row in csv.DictReader(open(sys.argv[2], newline=""))]
codes = [[known.get(row[c], 0) for c, known in about["categorical"].items()] for row in rows]
numbers = [[float("nan" if row[c] in about["missing"] else row[c]) for c in about["continuous"]] for row in rows]
found = score(torch.tensor(codes, dtype=torch.int64), torch.tensor(numbers, dtype=torch.float32)).tolist()
print(",".join(about["classes"]))
print(*(",".join(map(str, row)) for row in found), sep="\\n")
"""
"""Ten lines that score a CSV file with a .pt2 file, without any of this package."""


def to_pt2(model: TrainedModel) -> bytes:
    """Export; the bytes are those of a ``.pt2`` file."""
    encoding = model.encoding
    # Three rows, since 0 and 1 are taken for constants.
    example = (torch.zeros(3, len(encoding.categorical), dtype=torch.int64), torch.zeros(3, len(encoding.continuous)))
    rows = torch.export.Dim("rows", min=0)
    program = torch.export.export(RawScorer(model, torch.float32), example, dynamic_shapes=({0: rows}, {0: rows}))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # where the source files lie: nothing for a file that travels
    facts = about(model) | {
        "categorical": {column.name: vocabulary(column) for column in encoding.categorical},
        "continuous": [column.name for column in encoding.continuous],
        "missing": sorted({text for column in encoding.continuous for text in column.missing}),
    }
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={ABOUT: json.dumps(facts)})
    return content.getvalue()


class Pt2Model:
    """A ``.pt2`` file, opened for scoring. PyTorch unpickles parts of it: open only files you trust."""

    def __init__(self, path: Path) -> None:
        extra: dict[str, Any] = {ABOUT: ""}
        try:
            program = torch.export.load(io.BytesIO(path.read_bytes()), extra_files=extra)
            facts = json.loads(extra[ABOUT])
        except Exception as error:
            raise not_a_model(path, error) from error
        self._encoding = encoding_of(facts, path)
        self._score = program.module()

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order of the columns of :meth:`predict_proba`."""
        return self._encoding.labels

    @property
    def encoding(self) -> Encoding:
        """How a table's rows become the graph's inputs."""
        return self._encoding

    def predict_proba(self, rows: "Table | pd.DataFrame") -> NDArray[np.float64]:
        """Predict class probabilities for a table's rows, float64 [n, C]."""
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
