"""What is committed of the notebook's outputs; `make notebook` executes it."""

import json
import re
from pathlib import Path
from typing import Any

from tests.pages.blocks import ROOT

NOTEBOOK = ROOT / "notebooks" / "training_a_model_on_two_pods.ipynb"
CONTENT: dict[str, Any] = json.loads(NOTEBOOK.read_text("utf-8"))
CODE = [cell for cell in CONTENT["cells"] if cell["cell_type"] == "code"]


def test_it_was_executed_from_top_to_bottom_without_an_error() -> None:
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    outputs = [output for cell in CODE for output in cell["outputs"]]
    assert "error" not in {output["output_type"] for output in outputs}
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert any("<table" in "".join(output.get("data", {}).get("text/html", "")) for output in outputs)


def test_nothing_of_the_machine_it_ran_on_is_in_it() -> None:
    shown = json.dumps([cell["outputs"] for cell in CODE])
    text = re.sub(r'"image/png": "[^"]*"', "", shown)
    assert re.findall(r"""(?<=["'\s=(>])(?:~|[A-Z]:)?/\w[\w.-]*/[\w./-]+""", text) == []
    for own in (str(Path.home()), str(ROOT)):
        assert own not in text


def test_its_file_is_its_own() -> None:
    assert CONTENT["metadata"].keys() <= {"kernelspec", "language_info"}
    assert CONTENT["metadata"]["language_info"] == {"name": "python"}
    assert {key for cell in CONTENT["cells"] for key in cell["metadata"]} == set(), "run `make outputs`"
