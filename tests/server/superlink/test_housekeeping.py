"""What a SuperLink keeps does not grow with the runs that it has served, however they end."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flwr.common.constant import SubStatus
from flwr.proto.runtime_pb2 import PushTaskOutputRequest, PushTaskOutputResponse

from server.superlink import routes
from server.superlink.housekeeping import clear_ended, truncate_log
from tests.server.superlink.parties import PodCaller, ServerAppCaller

TABLES = ("message_ins", "message_res", "object_push_sessions", "object_push_session_pending")


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A file, as with `fl-app superlink`."""
    return str(tmp_path / "state.db")


def rows(database: str) -> dict[str, int]:
    with closing(sqlite3.connect(database)) as connection:
        return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in TABLES}  # noqa: S608


async def leave(pod: PodCaller, app: ServerAppCaller, number: int) -> None:
    """Leave behind a message on its way, one delivered, one answered, and an answer on its way."""
    await app.push(app.message(pod.node, size=4 * number + 2))
    data = await pod.received(pod.pull())
    await pod.confirm(data)
    await pod.push(pod.reply(data, size=1000 + number))
    await app.push(app.message(pod.node, size=4 * number + 3))
    data = await pod.received(pod.pull())
    await pod.push(pod.reply(data, size=2000 + number), objects=False)
    await app.push(app.message(pod.node, size=4 * number + 4), objects=False)


def test_a_run_that_is_over_leaves_no_message_and_no_object(superlink: Any, database: str, tmp_path: Path) -> None:
    state = superlink.state.linkstate_factory.state()

    async def story() -> None:
        pod, other = PodCaller(superlink, "north", tmp_path / "north"), ServerAppCaller(superlink)
        await pod.activate()
        for number in range(10):
            app = ServerAppCaller(superlink)
            await leave(pod, app, number)
            output = PushTaskOutputRequest(sub_status=SubStatus.FAILED if number % 2 else SubStatus.COMPLETED)
            await app.call(routes.TASK_OUTPUT, output).answer(PushTaskOutputResponse)
            async with asyncio.timeout(30):
                while any(rows(database).values()) or len(state.object_store):
                    await asyncio.sleep(0.05)
        # What belongs to a run that goes on stays.
        kept = other.message(pod.node)
        await other.push(kept)
        app = ServerAppCaller(superlink)
        await app.call(routes.TASK_OUTPUT, PushTaskOutputRequest(sub_status=SubStatus.FAILED)).task
        assert (await pod.received(pod.pull())).message_id == kept.id

    asyncio.run(story())
    assert state.object_store.run_objects_mapping.keys() <= {run.run_id for run in state.get_run_info()}


def test_runs_that_ended_while_the_superlink_was_down_are_cleared_at_its_start(
    superlink: Any, database: str, tmp_path: Path
) -> None:
    state = superlink.state.linkstate_factory.state()

    async def story() -> int:
        pod, app = PodCaller(superlink, "north", tmp_path / "north"), ServerAppCaller(superlink)
        await pod.activate()
        await leave(pod, app, 1)
        task = state.get_run_info(run_ids=[app.run])[0].primary_task_id
        assert state.finish_task(task, SubStatus.FAILED, "")
        return app.run

    run = asyncio.run(story())
    assert rows(database)["message_ins"] > 0
    assert list(clear_ended(state)) == [run]
    assert not any(rows(database).values())


def test_the_write_ahead_log_is_emptied_once_it_is_long(tmp_path: Path) -> None:
    database, wal = tmp_path / "state.db", tmp_path / "state.db-wal"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE some (content BLOB)")
        connection.execute("INSERT INTO some VALUES (zeroblob(2000000))")
        connection.commit()
        length = wal.stat().st_size
        truncate_log(database, length + 1)
        assert wal.stat().st_size == length
        truncate_log(database)
        assert wal.stat().st_size == 0
        assert connection.execute("SELECT length(content) FROM some").fetchone() == (2000000,)
    truncate_log(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "none.db-wal").write_bytes(b"x" * 10)
    (tmp_path / "none.db").write_bytes(b"this is no database at all" * 100)
    truncate_log(tmp_path / "none.db", 0)  # a warning in the log, and nothing else
