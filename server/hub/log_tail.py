"""The end of a SuperLink's log: its last lines, without the colours that Flower writes for a terminal."""

import re
from pathlib import Path

MOST_LINES = 200
_READ_BYTES = 1 << 20
"""So much of the log's end is looked through."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_REQUEST = re.compile(r'\[uvicorn\.access\].*" (?:2\d\d|401|404)$|\[Fleet\.|ControlServicer\.')
"""A request that went as requests go, and Flower's own line about it."""


def last_lines(path: Path, word: str = "", *, requests: bool = False) -> list[str]:
    """Return the last `MOST_LINES` lines of a log, the newest last; [] if there is none.

    Parameters
    ----------
    path
        The log.
    word
        Only lines that hold this are returned, in upper or lower case.
    requests
        Whether lines about single requests are among them; what the gate refuses always is.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - _READ_BYTES, 0))
            text = file.read(_READ_BYTES).decode("utf-8", "replace")
    except OSError:
        return []
    lines = [_COLOUR.sub("", line).strip() for line in text.split("\n")]
    if size > _READ_BYTES:
        lines = lines[1:]  # of which the beginning is missing
    wanted = word.casefold()
    kept = [line for line in lines if line and wanted in line.casefold() and (requests or not _REQUEST.search(line))]
    return [re.sub(r"^(\w+)\s*:\s+", r"\1  ", line)[:2000] for line in kept[-MOST_LINES:]]
