"""What a SuperLink that serves for months clears away: messages of runs that are over, and the database's log.

Flower deletes a run's messages as they are fetched, and all of them where a run is stopped; what a run that failed or
was killed leaves behind stays in the database, and its models and updates in memory.
"""

import logging
import sqlite3
from collections.abc import Collection, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

_LOG_BYTES = 1 << 20
log = logging.getLogger("flwr")


def clear_ended(state: Any, runs: Iterable[int] | None = None) -> Collection[int]:
    """Delete messages and objects of those of ``runs`` that are over; None: of all. Returns those that are.

    Nobody can fetch them any more: Flower answers no pod and no ServerApp on behalf of a run that is over.
    """
    from flwr.common.constant import Status

    asked = None if runs is None else list(runs)
    if asked == []:
        return []
    ended = [run.run_id for run in state.get_run_info(run_ids=asked, statuses=[Status.FINISHED])]
    for run in ended:
        # Of the runs from before a start there is nothing in memory, and most have left nothing in the database.
        if asked is not None or state.get_message_ids_from_run_id(run):
            state.cleanup_run(run)
    return ended


def truncate_log(database: Path, least: int = _LOG_BYTES) -> None:
    """Write what is in the database's write-ahead log into the database, if it has ``least`` bytes, and empty it.

    SQLite by itself does the first, but the log keeps the greatest size that it ever had (https://sqlite.org/wal.html).
    """
    wal = database.with_name(f"{database.name}-wal")
    try:
        if wal.exists() and wal.stat().st_size >= least:
            with closing(sqlite3.connect(database, timeout=1.0)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except (OSError, sqlite3.Error) as error:
        log.warning("the write-ahead log of %s could not be emptied: %s", database.name, error)
