"""Keeping a federation that was made in Python where the processes of a run find it: as a toml file in the home."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fl_app.errors import UsageError
from fl_app.pod.definition import Pod
from fl_app.pod.pod_file import dump_pod
from fl_app.system.files import replace_file
from fl_app.system.home import fl_app_home

_DIRECTORY = "federations"


def keep_table(name: str, table: Mapping[str, Any]) -> str:
    """Write the federation ``name`` to a file and return its source, as `find_federation` takes it.

    The same federation is kept once, in ``federations/`` of the home, under a name made of its content: a run that is
    resumed later finds it there.

    Parameters
    ----------
    table
        Its keys and values, as in the table of a toml file.

    Raises
    ------
    UsageError
        If a value has no form in TOML, or the home cannot be written.
    """
    text = f"[federation.{_text(name)}]\n"
    text += "".join(f"{key} = {_value(value, key)}\n" for key, value in table.items())
    return f"{_keep('', '.toml', text)}#{name}"


def keep_pod(pod: Pod) -> Path:
    """Write ``pod`` to a file of its own in the home, and return it; see `keep_table`."""
    return _keep(f"{pod.name}-", ".yaml", dump_pod(pod))


def _keep(head: str, suffix: str, text: str) -> Path:
    content = text.encode()
    path = fl_app_home() / _DIRECTORY / f"{head}{hashlib.sha256(content).hexdigest()[:16]}{suffix}"
    try:
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, content)
    except OSError as error:
        raise UsageError(f"{path}: the federation cannot be kept there: {error.strerror}") from error
    return path


def _value(value: Any, key: str) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _text(value)
        case list() | tuple():
            return f"[{', '.join(_value(part, key) for part in value)}]"
        case Mapping():
            return f"{{{', '.join(f'{_text(name)} = {_value(part, name)}' for name, part in value.items())}}}"
    raise UsageError(f"{key}: {value!r} has no form in a federation's file; leave it out")


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
