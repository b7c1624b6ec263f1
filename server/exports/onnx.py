"""ONNX: one [N, 1] input for each feature, text and numbers as a CSV file holds them; runs in onnxruntime alone.

torch exports the graph from codes and numbers on; an ``ai.onnx.ml`` LabelEncoder before it turns each categorical
column's text into codes (https://onnx.ai/onnx/operators/onnx_aionnxml_LabelEncoder.html). Text inputs are strings,
"" where missing; numbers are float64, NaN where missing; the output ``probabilities`` is float32 [N, C], or, where the
target is a number, ``prediction``, float32 [N, 1] in its unit. The graph knows other spellings as far as
`server.exports.vocabulary` lists them; how cells are read stands in its metadata.
"""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fl_app.errors import UsageError
from fl_app.tabular.cells import Table
from fl_app.tabular.encoding import Encoding, codes_of
from fl_app.tabular.model_errors import not_a_model
from fl_app.tabular.statistics import present_numbers
from server.exports.about import about
from server.exports.graph import GraphModel
from server.exports.vocabulary import vocabulary

if TYPE_CHECKING:
    import pandas as pd

    from fl_app.tabular.model_file import TrainedModel

OPSET, ML_OPSET = 18, 3
OUTPUT, NUMERIC_OUTPUT = "probabilities", "prediction"
ROWS = 4096
_INSIDE = "network/"
_NEEDED = "ONNX needs packages that are not installed: pip install 'fl-app[onnx]'"


def to_onnx(model: "TrainedModel") -> bytes:
    """Export; the bytes are those of an ``.onnx`` file.

    Raises
    ------
    UsageError
        The extra ``onnx`` is not installed.
    """
    try:
        import onnxscript  # noqa: F401
        from onnx import checker, compose, helper
    except ImportError as error:
        raise UsageError(_NEEDED) from error

    core = compose.add_prefix(_network(model), _INSIDE, rename_outputs=False)
    inputs = [value.name for value in core.graph.input]
    reader = _reader(model.encoding, inputs, core.ir_version)
    merged = compose.merge_models(reader, core, io_map=[(name, name) for name in inputs])
    facts = about(model)
    helper.set_model_props(merged, {key: v if isinstance(v, str) else json.dumps(v) for key, v in facts.items()})
    merged.producer_name = "fl-app"
    checker.check_model(merged)
    content: bytes = merged.SerializeToString()
    return content


class OnnxModel(GraphModel):
    """An ``.onnx`` file, opened for scoring with onnxruntime.

    Raises
    ------
    UsageError
        The extra ``onnx`` is not installed.
    DataError
        The file holds no model that `to_onnx` made.
    """

    def __init__(self, path: Path) -> None:
        try:
            from onnxruntime import InferenceSession
        except ImportError as error:
            raise UsageError(_NEEDED) from error
        try:
            self._session = InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
            facts: dict[str, Any] = dict(self._session.get_modelmeta().custom_metadata_map)
            facts["encoding"] = json.loads(facts.get("encoding", "null"))
        except Exception as error:  # onnxruntime's errors have no other root
            raise not_a_model(path, error) from error
        super().__init__(facts, path)

    def _outputs(self, rows: "Table | pd.DataFrame") -> NDArray[np.float64]:
        table = Table.of(rows)
        columns: dict[str, NDArray[Any]] = {}
        for column in self._encoding.categorical:
            words = vocabulary(column)
            texts = [_unknown_to(words), "", *column.values]  # of several spellings the graph gets the published one
            columns[column.name] = np.array(texts, dtype=object)[codes_of(table, column)][:, None]
        for column in self._encoding.continuous:
            columns[column.name] = present_numbers(table, column)[:, None]
        parts = [
            self._session.run(None, {name: values[start : start + ROWS] for name, values in columns.items()})[0]
            for start in range(0, max(len(table), 1), ROWS)
        ]
        return np.concatenate(parts).astype(np.float64)


def _unknown_to(words: Mapping[str, int]) -> str:
    text = "unknown"
    while text in words:
        text += "_"
    return text


def _network(model: "TrainedModel") -> Any:
    """Export the graph from codes and numbers on: an input for each feature, categorical ones first."""
    import torch

    from server.exports.scorer import ColumnScorer

    encoding = model.encoding
    # Three rows, since 0 and 1 are taken for constants.
    example = [torch.zeros(3, 1, dtype=torch.int64) for _ in encoding.categorical]
    example += [torch.zeros(3, 1, dtype=torch.float64) for _ in encoding.continuous]
    rows = torch.export.Dim("rows", min=0)
    output = NUMERIC_OUTPUT if encoding.numeric else OUTPUT
    while output in (column.name for column in encoding.features):
        output += "_"
    with _quiet():
        program = torch.onnx.export(
            ColumnScorer(model).eval(),
            (example,),
            input_names=[f"column_{i}" for i in range(len(example))],
            output_names=[output],
            opset_version=OPSET,
            dynamic_shapes=([{0: rows}] * len(example),),
            external_data=False,
            verbose=False,
            dynamo=True,
        )
    if program is None:
        raise UsageError("this version of torch exports no ONNX graph")
    exported = program.model_proto
    # The exporter notes where in which source file each node came from: nothing for a file that travels.
    graph = exported.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
    return exported


def _reader(encoding: Encoding, names: list[str], ir_version: int) -> Any:
    """Make the part that reads columns: a LabelEncoder for each text, numbers as they are.

    ``names`` are the network's inputs, categorical ones first.
    """
    from onnx import TensorProto, helper

    order = [*encoding.categorical, *encoding.continuous]
    nodes, inputs = [], {}
    for column, name in zip(order, names, strict=True):
        if column.kind == "categorical":
            words = vocabulary(column, encoding.numbers)
            nodes.append(
                helper.make_node(
                    "LabelEncoder",
                    [column.name],
                    [name],
                    domain="ai.onnx.ml",
                    keys_strings=list(words),
                    values_int64s=list(words.values()),
                    default_int64=0,
                )
            )
        else:
            nodes.append(helper.make_node("Identity", [column.name], [name]))
        kind = TensorProto.STRING if column.kind == "categorical" else TensorProto.DOUBLE
        inputs[column.name] = helper.make_tensor_value_info(column.name, kind, ["rows", 1])
    outputs = [
        helper.make_tensor_value_info(
            name, TensorProto.INT64 if column.kind == "categorical" else TensorProto.DOUBLE, ["rows", 1]
        )
        for column, name in zip(order, names, strict=True)
    ]
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    graph = helper.make_graph(nodes, "columns", [inputs[column.name] for column in encoding.features], outputs)
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes on its own workings from the user."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
