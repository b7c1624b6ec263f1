"""The directory in which keys, ledgers and the list of known pods are kept, and the names of what is in it.

::

    $FL_APP_HOME             default ~/.fl-app
        known_pods           public keys of other pods, one a line
        pods/NAME/           the home of one pod
            identity.key     its identity, Ed25519
            node.key         the key of its Flower node, P-384
            ledger.db        every message answered or refused, as an append-only chain
            ledger.spent         the most that private runs have spent of the owner's budget, whatever the ledger says
            pod.log          errors that are told to nobody but the owner
            paused           an empty file; while it exists the pod answers nobody
            encoded/         the table's rows as arrays, its digest and what it publishes, for the next message
            replicas/        what it has followed of each run, its last model included
            apps/, refused/  versions of the app that the owner has approved, and the last ones refused
            flower/          what its node runs and unpacks
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
KNOWN_PODS_FILE = "known_pods"
PODS_DIRECTORY = "pods"
LEDGER_FILE = "ledger.db"
LOG_FILE = "pod.log"
PAUSED_FILE = "paused"
ENCODED_DIRECTORY = "encoded"
REPLICAS_DIRECTORY = "replicas"
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
    return (home or fl_app_home()) / PODS_DIRECTORY / name
