"""What a simulation imports before it forks, by what its run does."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from fl_app.config import RunConfig
from fl_app.tabular.settings import DataStructure
from server.app.run_directory import RUN_DIRECTORY_VARIABLE, RunDirectory
from server.modeller.simulation import _preload

Calls = list[str]


@pytest.fixture
def run_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Makes the run of this process one that describes, or one that trains."""

    def make(describes: bool) -> None:
        config = RunConfig(pods=("a", "b"), datastructure=DataStructure(target="t"), describes=describes)
        monkeypatch.setenv(RUN_DIRECTORY_VARIABLE, str(RunDirectory.create(tmp_path, config).path))

    return make


@pytest.mark.parametrize(("describes", "imported"), [(True, "tables"), (False, "all")])
def test_a_description_imports_no_network_ahead(
    run_that: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch, describes: bool, imported: str
) -> None:
    called = Calls()
    app = ModuleType("an_app")
    vars(app).update(preload=lambda: called.append("all"), preload_tables=lambda: called.append("tables"))
    monkeypatch.setitem(sys.modules, "an_app", app)
    run_that(describes)
    _preload("an_app:app")
    assert called == [imported]


@pytest.mark.parametrize("describes", [True, False])
def test_an_app_of_one_s_own_is_asked_as_pods_ask_it(
    run_that: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch, describes: bool
) -> None:
    called = Calls()
    monkeypatch.setitem(sys.modules, "one_s_own", SimpleNamespace(preload=lambda: called.append("all")))
    monkeypatch.setitem(sys.modules, "without", SimpleNamespace())
    run_that(describes)
    _preload("one_s_own:app")
    _preload("without:app")
    assert called == ["all"]
