"""What a federation leaves in the owner's home, where the processes of a run find it: tables, pod files, certificates.

::

    $FL_APP_HOME
        federations/HASH.toml          a federation made in Python
        federations/POD-HASH.yaml      a pod made in Python
        certificates/HASH.pem          certificates that were given as text, in a join file say

A file is named by its content: the same content is saved once, and a run that is resumed later finds it.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from fl_app.errors import UsageError
from fl_app.pod.definition import Pod
from fl_app.pod.pod_file import dump_pod
from fl_app.system.files import replace_file
from fl_app.system.home import fl_app_home

_FEDERATIONS, _CERTIFICATES = "federations", "certificates"


def save_federation(name: str, table: Mapping[str, Any]) -> str:
    """Write the federation ``name`` to a toml file and return its source, as `find_federation` takes it.

    Parameters
    ----------
    table
        Its keys and values, as in the table of a toml file.

    Raises
    ------
    UsageError
        If a value has no form in TOML, or the home cannot be written.
    """
    for key, value in table.items():
        _check_has_toml_form(key, value)
    text = tomli_w.dumps({"federation": {name: table}})
    return f"{_save(_path(_FEDERATIONS, '', '.toml', text), text)}#{name}"


def save_pod(pod: Pod) -> Path:
    """Write ``pod`` to a pod file, and return it; raises `UsageError` if the home cannot be written."""
    text = dump_pod(pod)
    return _save(_path(_FEDERATIONS, f"{pod.name}-", ".yaml", text), text)


def certificates_path(text: str) -> Path:
    """Return the file in which `save_certificates` saves certificates (PEM) given as text; it is not written here."""
    return _path(_CERTIFICATES, "", ".pem", text)


def save_certificates(text: str) -> Path:
    """Write certificates (PEM) to `certificates_path`; raises `UsageError` if the home cannot be written."""
    return _save(certificates_path(text), text)


def _path(directory: str, head: str, suffix: str, text: str) -> Path:
    return fl_app_home() / directory / f"{head}{hashlib.sha256(text.encode()).hexdigest()[:16]}{suffix}"


def _save(path: Path, text: str) -> Path:
    content = text.encode()
    try:
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, content)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}; $FL_APP_HOME names another home") from error
    return path


def _check_has_toml_form(key: str, value: Any) -> None:
    """Raise `UsageError` naming the key unless TOML has a form for ``value``: tomli-w's own error names none."""
    match value:
        case bool() | int() | float() | str():
            return
        case list() | tuple():
            for part in value:
                _check_has_toml_form(key, part)
        case Mapping():
            for name, part in value.items():
                _check_has_toml_form(name, part)
        case _:
            raise UsageError(f"{key}: {value!r} has no form in a federation's file; leave it out")
