"""Where a pod's owner keeps keys, ledgers and the list of known pods.

::

    $FL_APP_HOME             default ~/.fl-app
        known_pods           public keys of other pods, one a line
        pods/NAME/           identity.key, node.key, ledger.db
        modeller/            identity.key, name
"""

import os
import re
from pathlib import Path

from fl_app.errors import UsageError
from fl_app.system.files import absolute

NAME_RULE = (
    "a pod's name is 1 to 64 lowercase letters, digits, hyphens, dots or underscores, the first a letter or digit"
)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def is_pod_name(name: str) -> bool:
    """Say whether ``name`` may name a pod. It becomes a directory, hence no slash and no leading dot."""
    return _NAME.fullmatch(name) is not None


def fl_app_home() -> Path:
    """Return ``$FL_APP_HOME``, or ``~/.fl-app`` where that is unset or empty; absolute, and not created."""
    return absolute(os.environ.get("FL_APP_HOME") or "~/.fl-app", Path.cwd())


def pod_home(name: str, home: Path | None = None) -> Path:
    """Return the directory of pod ``name`` under ``home`` (default `fl_app_home`); not created.

    Raises
    ------
    UsageError
        If ``name`` is not a pod's name.
    """
    if not is_pod_name(name):
        raise UsageError(f"{name!r}: {NAME_RULE}")
    return (home or fl_app_home()) / "pods" / name
