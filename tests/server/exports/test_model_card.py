"""The model card tells what is known and says so where something is not."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from fl_app.privacy.plan import Plan
from fl_app.privacy.settings import Privacy
from fl_app.tabular.cell_text import NumberFormat
from fl_app.tabular.combining import combine
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.schema import schema_of
from server.app.promises import promised
from server.exports.formats import FORMATS
from server.exports.model_card import card, card_path
from tests.fl_app.tabular.tables import shop
from tests.server.exports.test_formats import model_of

SETTINGS = {
    **{"pods": ["a", "b"], "rounds": 3, "local_epochs": 1, "local_steps": None, "batch_size": 32, "seed": 4},
    **{"optimizer": {"name": "AdamW", "params": {"lr": 0.1}}, "strategy": "FedAvg", "weighting": "examples"},
    **{"secure": True, "min_bin_rows": 6},
}


def told(model: TrainedModel, form: str = "onnx", **settings: object) -> str:
    given = {"run": "r1", "settings": {**SETTINGS, **settings}, "final": {"auc": 0.875, "num_examples": 1234}}
    return card(TrainedModel(model.encoding, model.architecture, model.state, given), Path(f"m.{form}"))


@pytest.mark.parametrize("form", FORMATS)
def test_it_tells_figures_cohort_privacy_and_how_to_read_the_file(form: str) -> None:
    text = told(model_of(shop()), form)
    for part in ("0.8750", "1,234", "`a`, `b`", "3 rounds of 1 local epoch,", "6 rows or more", "not differential"):
        assert part in text
    assert f"| format | {form} |" in text
    assert "With two pods" in text
    assert card_path(Path("d") / f"m.{form}") == Path("d") / f"m.{form}.card.md"


def test_it_tells_how_the_cells_are_read() -> None:
    text = told(model_of(shop(), units={"age": "years|x"}))
    assert "| `age` | whole number, in `years\\|x` |" in text
    assert "007 is not 7" in text
    assert "`.` before decimals, nothing between thousands" in text
    assert "Missing: the empty cell, `#N/A`" in text
    assert "0.50 for 0.5" in text
    assert "0.50 for 0.5" not in told(model_of(shop()), "pt")
    made = model_of(shop())
    features = tuple(
        column.model_copy(update={"missing": ("", "-999")}) if column.name == "gift" else column
        for column in made.encoding.features
    )
    numbers = NumberFormat(decimal=",", thousands=".")
    encoding = made.encoding.model_copy(update={"features": features, "numbers": numbers})
    other = card(TrainedModel(encoding, made.architecture, made.state), Path("m.pt"))
    assert "`,` before decimals, `.` between thousands" in other
    assert "Missing in `gift`: the empty cell, `-999`." in other
    assert "Missing in `age`, `town`, `colour`: the empty cell, `#N/A`" in other


def test_it_does_not_claim_what_was_not_so() -> None:
    plain = told(model_of(shop()), secure=False)
    assert "Secure aggregation was off" in plain
    assert "masked" not in plain
    assert "With two pods" not in told(model_of(shop()), pods=["a", "b", "c"])
    bare = card(
        TrainedModel(*(getattr(model_of(shop()), name) for name in ("encoding", "architecture", "state"))), Path("m.pt")
    )
    assert bare.count("Not known to this file.") == 2
    assert "masked" not in bare


def test_it_tells_what_a_private_run_promised() -> None:
    promise = promised(Plan(Privacy(epsilon=3.0), 80), None, 2, 3).document()
    settings = {**SETTINGS, "privacy": {"epsilon": 3.0, "delta": 1e-5}, "rounds": 80}
    final = {"auc": 0.875, "num_examples": 1234, "deviations": {"auc": 0.0042, "num_examples": 12.4}}
    model = model_of(shop())
    extra = {"run": "r1", "settings": settings, "final": final, "privacy": promise}
    carried = TrainedModel(model.encoding, model.architecture, model.state, extra)
    text = card(carried, Path("m.onnx"))
    assert promise["guarantee"] in text.replace("\\", "")
    assert text.count("Not covered: ") == len(promise["not_covered"])
    assert "80 rounds, each one step over all rows" in text
    assert "| auc | 0.8750 ± 0.0042 |" in text
    assert "| num_examples | 1,234 ± 12 |" in text
    for wrong in ("Federated averaging", "is not differential privacy", "batches of", "With two pods"):
        assert wrong not in text
    figures = card(carried, Path("m.onnx"), {"final": {"auc": 0.5}, "positive": "yes"}).split("## Figures")[1]
    assert "|\n\nf1, recall and precision are of class" in figures  # no row of the table
    bare = told(model_of(shop()), privacy={"epsilon": 3.0, "delta": 1e-5})
    assert "what that promised is in the run's results.json" in bare
    assert "is not differential privacy" not in bare


def test_names_cannot_break_out_of_a_table() -> None:
    frame = shop().rename(columns={"town": "a|b `c`\n| d"})
    text = told(model_of(frame))
    rows = [line for line in text.splitlines() if "a\\|b" in line]
    assert len(rows) == 1
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 4
    assert rows[0].count("`") % 2 == 0


def test_long_columns_and_many_classes_do_not_make_long_lines() -> None:
    rows, classes = 3000, [f"class-{number}" for number in range(40)]
    town = [f"town-{number:05}" for number in range(rows)]
    frame = pd.DataFrame({"town": town, "age": np.arange(rows, dtype=float), "bought": np.resize(classes, rows)})
    model = model_of(frame)
    half = schema_of(frame.iloc[: rows // 2], name="b", min_count=1)
    differences = combine([schema_of(frame, name="a", min_count=1), half]).differences
    results = {
        **{"final": {"auc": 0.5}, "schema_differences": differences, "confusion": np.eye(40, dtype=int).tolist()},
        "notes": ["10 optimizer steps in all"],
    }
    text = card(
        TrainedModel(model.encoding, model.architecture, model.state, {"settings": SETTINGS}), Path("m.pt"), results
    )
    assert max(map(len, text.splitlines())) < 500
    assert "b does not publish 1,500 of 3,000 values" in text
    assert "and 28 more" in text
    assert "confusion matrix of 40 classes is in" in text
    assert "Note: 10 optimizer steps in all." in text


NAMES = ("|", "a\\|b", "<img src=x>", "[x](y)", "*a* _b_", "`", "&amp;", "# c", "a\n\nb")


def full_card(name: str) -> str:
    """A card in which every text that somebody else chooses is, or holds, ``name``."""
    target = f"{name} target"
    model = model_of(shop(classes=("no", name)).rename(columns={"town": name, "bought": target}), target=target)
    settings = {**SETTINGS, "optimizer": {"name": "AdamW", "params": {name: 0.1}}}
    results = {
        **{"started": name, "stopped": {"round": 2, "why": name}, "kept": 2, "confusion": [[1, 2], [3, 4]]},
        **{"pods": [{"name": name, "key": name}], "schema_differences": [f"column {name} is missing"]},
        **{"final": {"auc": 0.5}, "test": {"auc": 0.75}},
    }
    extra = {"run": name, "settings": settings}
    return card(TrainedModel(model.encoding, model.architecture, model.state, extra), Path(f"{name}.onnx"), results)


def rendered(text: str) -> list[Token]:
    """What a reader of Markdown makes of a card, the inline parts of each block after it."""
    blocks = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    return [part for block in blocks for part in (block, *(block.children or ()))]


def structure(text: str) -> list[str]:
    """Blocks, cells, code spans, emphasis, links and tags of a card, without its words."""
    return [part.type for part in rendered(text) if part.type not in ("text", "softbreak", "text_special")]


@pytest.mark.parametrize("name", NAMES)
def test_no_text_that_others_choose_is_read_as_markup(name: str) -> None:
    text = full_card(name)
    assert structure(text) == structure(full_card("usual"))
    shown = " ".join(name.split()).replace("`", "'")
    if "\\" not in name:  # a bar after a backslash cannot be written in a table without one more of these
        assert [part.content for part in rendered(text) if part.type == "code_inline"].count(shown) >= 3
