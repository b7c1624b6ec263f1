"""Many columns, columns that the model is better without, and figures that are not defined."""

import io

from server.app.importance_result import ColumnImportance, ImportanceResult
from server.app.results import Results
from server.display.importance import importance_told, rows, show_importance
from server.display.plain_console import PlainConsole
from server.display.report.plots import pictures


def result(columns: int) -> ImportanceResult:
    """Return columns of which each is worth less than the one before, and the last less than nothing."""
    found = [
        ColumnImportance(column=f"column {place}", loss_rise=(columns - 2 - place) / 100, accuracy_drop=0.5)
        for place in range(columns)
    ]
    return ImportanceResult(columns=tuple(found), rows=20)


def test_of_many_columns_the_first_thirty_are_shown() -> None:
    many = result(41)
    assert [cells[0] for cells in rows(many)] == [f"column {place}" for place in range(30)]
    assert "11 columns of less importance in results.json" in " ".join(importance_told(many))
    drawn = pictures(Results(importance=many))["importance"]
    assert len(drawn.axes[0].patches) == 30
    assert len(list(importance_told(result(30)))) == 1


def test_what_is_below_zero_or_not_known_is_shown_so() -> None:
    assert list(rows(result(3)))[-1] == ["column 2", "-0.0100", "-", "0.5000", "-"]
    number = ImportanceResult(columns=(ColumnImportance(column="age", loss_rise=0.1, r2_drop=None),), rows=40)
    assert list(rows(number)) == [["age", "0.1000", "-"]]
    out = PlainConsole(file=io.StringIO(), width=120)
    show_importance(out, None)
    show_importance(out, ImportanceResult(why="too few pods"))
    assert out.file.getvalue() == "no importance of columns: too few pods\n"  # type: ignore[attr-defined]
