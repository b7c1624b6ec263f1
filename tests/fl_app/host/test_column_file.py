"""A specification of columns in a file."""

from pathlib import Path

import pytest

from fl_app.errors import UsageError
from fl_app.host.column_file import columns_text, read_columns
from fl_app.tabular.column_spec import ProposedColumn
from fl_app.tabular.schema import Column

COLUMNS = (
    Column(name="age", kind="continuous", low=0, high=128, unit="years"),
    Column(name="stage", kind="continuous", low=0, high=4, integer=True, values=("0", "1")),
    Column(name="sex", kind="categorical", values=("f", "m")),
    Column(name="gone", kind="categorical", empty=True),
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(columns_text(COLUMNS))
    assert read_columns(tmp_path / "s.yaml").columns == {
        "age": ProposedColumn(kind="continuous", bounds=(0, 128), unit="years"),
        "stage": ProposedColumn(),
        "sex": ProposedColumn(kind="categorical"),
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- a", "is written as columns"),
        ("columns:\n  age: {kind: text}\n", "kind"),
        ("columns:\n  age: {kinds: continuous}\n", "did you mean 'kind'"),
        ("columns:\n  age: {bounds: [5, 1]}\n", "low below high"),
        ("column: {}\n", "columns"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(UsageError, match=told):
        read_columns(tmp_path / "s.yaml")
