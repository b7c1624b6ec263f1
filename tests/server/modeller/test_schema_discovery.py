import json
from pathlib import Path

import pytest
from flwr.app import Message, RecordDict

from client.app.ledger import Ledger
from client.app.main import app
from fl_app.errors import RunFailed, UsageError
from fl_app.federation.config_file import VARIABLE
from fl_app.federation.kinds import SimulatedFederation
from fl_app.flower import records
from fl_app.secagg.messages import Hello
from server.app.results import Discovery, RunRequest
from server.app.run_directory import RunDirectory
from server.modeller.schema_discovery import discover_schemas
from strategies import CohortRefused
from strategies.discovery import discover_pods
from tests.support.in_process import InProcessGrid
from tests.support.small_federation import PODS, write_pod


@pytest.fixture
def grid(small: SimulatedFederation, monkeypatch: pytest.MonkeyPatch) -> InProcessGrid:
    monkeypatch.setenv(VARIABLE, small.source)
    return InProcessGrid(app, {100: {"partition-id": 0}, 101: {"partition-id": 1}})


@pytest.mark.parametrize(("known", "messages"), [(PODS, 2), (("north",), 4), ((), 4)])
def test_whoever_is_connected_is_found_and_tells_whom_it_approves(
    grid: InProcessGrid, known: tuple[str, ...], messages: int
) -> None:
    discovery = discover_pods(grid, known, 5, required=False, settle=0)
    assert list(discovery.cohort.schemas) == ["north", "south"]
    assert discovery.cohort.approvals == {"north": ("south",), "south": ("north",)}
    assert discovery.problems == ()
    assert len(grid.requests) == messages


@pytest.mark.timeout(60)
def test_nobody_else_is_waited_for_once_all_who_are_expected_have_answered(grid: InProcessGrid) -> None:
    found = discover_pods(grid, PODS, 1000, required=False, settle=1000)
    assert list(found.cohort.hellos) == list(PODS)


def test_a_look_leaves_a_line_in_the_ledger_and_no_session(grid: InProcessGrid, tmp_path: Path) -> None:
    discover_pods(grid, PODS, 5)
    ledgers = list(tmp_path.rglob("ledger.db"))
    assert len(ledgers) == len(PODS)
    assert all([entry.event for entry in Ledger(path).entries()] == ["look"] for path in ledgers)
    assert all(not context.state for context in grid.contexts.values())


def test_who_is_required_and_silent_is_named(grid: InProcessGrid) -> None:
    grid.on_reply = lambda message: message if hello_of(message).name == "north" else None
    with pytest.raises(CohortRefused, match="pod 'south' did not answer"):
        discover_pods(grid, PODS, 0.3)
    assert list(discover_pods(grid, PODS, 0.3, required=False).cohort.hellos) == ["north"]
    grid.on_reply = lambda message: None
    with pytest.raises(CohortRefused, match="no pod is connected"):
        discover_pods(grid, (), 0.3, required=False)


def test_a_forged_answer_is_a_problem_and_no_pod(grid: InProcessGrid) -> None:
    def forged(message: Message) -> Message:
        hello = hello_of(message)
        if hello.name == "south":
            other = Hello(**{**vars(hello), "published": records.Published("{}", ()).digest()})
            message.content = records.put(RecordDict(), other)
        return message

    grid.on_reply = forged
    discovery = discover_pods(grid, PODS, 5, required=False, settle=0)
    assert list(discovery.cohort.hellos) == ["north"]
    (problem,) = discovery.problems
    assert problem == "a node's reply to the hello cannot be used: the signature of pod 'south' does not verify"


def test_one_name_from_two_nodes_is_told(grid: InProcessGrid) -> None:
    twice = InProcessGrid(app, {100: {"partition-id": 0}, 102: {"partition-id": 0}})
    assert discover_pods(twice, PODS, 5, required=False, settle=0).problems == ("two nodes answer as pod 'north'",)


def test_pods_answer_in_the_order_in_which_they_were_asked(small: SimulatedFederation, tmp_path: Path) -> None:
    write_pod(tmp_path, "north", approved=())
    found = discover_schemas(("south", "north"), small, timeout=5)
    assert list(found) == ["south", "north"]
    assert found["south"].approves == ("north",)
    assert found["north"].approves == ()
    with pytest.raises(UsageError, match="the federation 'small' has no pod 'east'; its pods are north, south"):
        discover_schemas(("east",), small)
    write_pod(tmp_path, "north").with_name("north.csv").unlink()
    with pytest.raises(
        RunFailed, match=r"the pods could not be asked: no cohort: pod 'north' could not answer: .*north"
    ):
        discover_schemas(("north",), small, timeout=0.3)


def test_a_run_that_trains_nothing_has_no_settings(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, None, RunRequest(look=Discovery(names=())))
    assert json.loads((run.path / "config.json").read_text()) == {"run": None, "look": {"names": []}}
    assert run.request().settings == {}
    with pytest.raises(UsageError, match="trains nothing"):
        run.config()


def hello_of(message: Message) -> Hello:
    return records.take(message.content, Hello)
