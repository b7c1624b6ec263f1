"""The names of Flower's that a node needs: all there in the Flower that is installed, and missed by name where not."""

import importlib
import inspect
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import ConfigRecord, RecordDict
from flwr.supernode.fleet_http_connection import http_request_response

from client.site import flower_names, node
from client.site.node import Settings
from tests.support.small_app import message

PROJECT = Path(__file__).parents[3] / "pyproject.toml"


def test_the_installed_flower_has_all_that_is_used() -> None:
    assert flower_names.missing() == []


def test_only_flowers_names_are_imported_by_name() -> None:
    assert {module.partition(".")[0] for module in flower_names._USED} == {"flwr"}


def test_the_supported_releases_are_the_projects() -> None:
    (flower,) = [
        text for text in tomllib.loads(PROJECT.read_text())["project"]["dependencies"] if text.startswith("flwr")
    ]
    assert flower.partition("]")[2] == flower_names.SUPPORTED


def test_the_connection_yields_what_a_node_takes() -> None:
    """Its annotation names eight parts, and its body hands them over in this order."""
    text = inspect.getsource(http_request_response)
    parts = "receive, send, get_run, get_fab, pull_object, push_object, confirm_message_received,"
    assert "".join(parts.split()) in "".join(text.partition("yield (")[2].split())


@pytest.mark.parametrize("module", list(flower_names._USED))
def test_a_module_that_is_gone_is_missed(module: str) -> None:
    def load(name: str) -> Any:
        if name == module:
            raise ImportError(name)
        return importlib.import_module(name)

    assert list(flower_names._missing(load)) == [module]


@pytest.mark.parametrize(
    ("module", "name"), [(module, n) for module, names in flower_names._USED.items() for n in names]
)
def test_a_name_that_is_gone_is_missed(module: str, name: str) -> None:
    def load(loaded: str) -> Any:
        found = importlib.import_module(loaded)
        if loaded != module:
            return found
        return SimpleNamespace(**{key: value for key, value in vars(found).items() if key != name})

    assert list(flower_names._missing(load)) == [f"{module}.{name}"]


@pytest.mark.parametrize(("module", "name"), list(flower_names._CALLED_WITH))
def test_other_parameters_are_missed(module: str, name: str) -> None:
    def load(loaded: str) -> Any:
        found = importlib.import_module(loaded)
        return SimpleNamespace(**{**vars(found), name: lambda other: other}) if loaded == module else found

    (missed,) = flower_names._missing(load)
    assert missed.startswith(f"{module}.{name}(")


def test_an_error_code_that_is_gone_is_missed() -> None:
    def load(loaded: str) -> Any:
        found = importlib.import_module(loaded)
        return SimpleNamespace(ErrorCode=SimpleNamespace()) if loaded == "flwr.common.constant" else found

    assert list(flower_names._missing(load)) == [f"ErrorCode.{code}" for code in flower_names._ERROR_CODES]


def test_under_another_flower_a_node_answers_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(flower_names, "missing", lambda: ["flwr.some.name"])
    monkeypatch.setattr(node, "_connect", lambda *_: pytest.fail("it connected"))
    file = tmp_path / "node.json"
    Settings("there:1", True, None, None, "north", str(tmp_path), str(tmp_path), "north.yaml").write(file)
    assert node.main(str(file)) == node.UNKNOWN_FLOWER
    assert "the installed flwr has no flwr.some.name: install flwr>=" in capsys.readouterr().out


def test_a_message_comes_together_as_it_was_taken_apart() -> None:
    asked = message(text="as it was")
    _, proto, objects = flower_names.deflated(asked)
    contents = {object_id: value.deflate() for object_id, value in objects.items()}
    assert list(contents) == flower_names.object_ids(flower_names.tree(proto))
    again = flower_names.inflated(asked.metadata.message_id, contents)
    assert again.content == RecordDict({"given": ConfigRecord({"text": "as it was"})})
    assert again.metadata == asked.metadata
    assert contents == {}
