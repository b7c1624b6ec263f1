"""How pages are written: Jinja2, every value escaped, and no character in it that acts instead of being shown."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader, StrictUndefined

from fl_app.hub.charts import chart
from fl_app.hub.role import Role
from fl_app.system.printable import printable
from fl_app.validation import counted

HERE = Path(__file__).parent
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@cache
def static_files() -> Mapping[str, tuple[bytes, str]]:
    """Return the files that pages load: name, with a part that changes with the content, -> content and media type.

    They are read once and looked up by name, so no request ever makes a path.
    """
    files = {}
    for path in sorted((HERE / "static").iterdir()):
        content = path.read_bytes()
        name = f"{path.stem}-{hashlib.sha256(content).hexdigest()[:12]}{path.suffix}"
        files[name] = (content, MEDIA_TYPES[path.suffix])
    return files


def static(name: str) -> str:
    """Return the address of the static file ``name``; raises StopIteration if there is none."""
    stem, _, suffix = name.rpartition(".")
    return next(f"/static/{one}" for one in static_files() if one.startswith(f"{stem}-") and one.endswith(f".{suffix}"))


def environment(roles: Sequence[Role]) -> Environment:
    """Return the environment of the hub's templates: ``hub/NAME`` are its own, ``ROLE/NAME`` a role's."""
    loaders = {role.name: FileSystemLoader(role.templates) for role in roles}
    made = Environment(
        loader=ChoiceLoader([PrefixLoader({"hub": FileSystemLoader(HERE / "templates"), **loaders})]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(static=static, chart=chart)
    made.filters.update(counted=counted, ago=ago, size=size, moment=moment)
    return made


def ago(seconds: float | None) -> str:
    """Return how long ago something was, in words; None: never."""
    if seconds is None:
        return "never"
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"


def moment(time: float) -> str:
    """Return a time in seconds since the epoch as the minute it lies in, UTC."""
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M} UTC"


def size(count: float) -> str:
    """Return a number of bytes in words."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _shown(value: Any) -> Any:
    if not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable():  # nearly all, and quickly
        return value
    return printable(value)
