"""The server's half of secure aggregation serves any Flower app: it loads neither tables nor torch."""

from tests.house.source import closure, within
from tests.house.test_imports import UPWARD, loaded_by

ABSENT = {"torch", "pandas", "sklearn", "fl_app.config"}


def test_the_strategy_loads_neither_tables_nor_torch() -> None:
    loaded = loaded_by("from strategies import SecureAggregation")
    assert "strategies.secure_aggregation" in loaded
    assert not loaded & ABSENT
    assert not [module for module in loaded if within(module, "fl_app.tabular")]


def test_nor_does_anything_that_it_imports_later() -> None:
    needed = closure(["strategies", "strategies.discovery"], UPWARD)
    assert not [module for module in needed if within(module, "fl_app.tabular") or module == "fl_app.config"]
