"""The owner's side of every answer: name, key, approvals, policy and ledger of the pod that is asked."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from client.app.ledger import Ledger
from fl_app.identity.keys import Identity, Keyring, known_pods
from fl_app.pod.definition import Policy
from fl_app.secagg.crypto import Signer
from fl_app.secagg.roster import CohortPolicy
from fl_app.system.home import LEDGER_FILE, LOG_FILE, PAUSED_FILE, pod_home

VERIFIED_APP = "FL_APP_VERIFIED_APP"
"""Set by the guard that starts this process: SHA-256 of the app's bundle, which the owner has approved."""


def _nothing() -> str:
    return ""


def _awake() -> bool:
    return False


@dataclass(frozen=True)
class Limits:
    """Most that one run, and one round of it, may ask for; None: no limit. Those of a day are the ledger's."""

    rounds: int | None = None
    local_epochs: int | None = None
    local_steps: int | None = None


@dataclass(frozen=True)
class Owner:
    """What a pod answers with.

    Attributes
    ----------
    name : str
        The pod's name.
    signer : Signer
        Its identity key.
    cohort : CohortPolicy
        Approved pods with their pinned keys, and what the owner asks of a cohort.
    ledger : Ledger
        The owner's record.
    require_secure_aggregation : bool
        Whether plain averaging is refused.
    sessions : int
        Most sessions one run may begin.
    log : Path or None
        File in which the pod notes what it tells nobody; None for the process's own log alone.
    schema : callable
        Returns the text the owner publishes about the table.
    limits : Limits
        How much training the owner agrees to.
    app : str
        Hash of the app's bundle that the owner's guard has verified; "" where there is no guard.
    paused : callable
        Says whether the owner has paused the pod.
    """

    name: str
    signer: Signer
    cohort: CohortPolicy
    ledger: Ledger
    require_secure_aggregation: bool = True
    sessions: int = 1
    log: Path | None = None
    schema: Callable[[], str] = _nothing
    limits: Limits = Limits()
    app: str = ""
    paused: Callable[[], bool] = _awake


def owner_of(
    name: str,
    approved_pods: Sequence[str],
    policy: Policy,
    *,
    home: Path | None = None,
    schema: Callable[[], str] = _nothing,
) -> Owner:
    """Return the owner of pod ``name`` with the key, the keyring and the ledger found in its home.

    A pod on the approved list whose key the keyring does not hold is not approved: there is nothing to pin.
    """
    directory, keyring = pod_home(name, home), Keyring.load(known_pods(home))
    app = os.environ.get(VERIFIED_APP, "")
    ledger = Ledger(
        directory / LEDGER_FILE,
        app,
        runs_per_day=policy.maximum_runs_per_day,
        rounds_per_day=policy.maximum_rounds_per_day,
    )
    pinned = {other: key for other in approved_pods if other != name and (key := keyring.get(other)) is not None}
    return Owner(
        name=name,
        signer=Identity.load(directory),
        cohort=CohortPolicy(pinned, policy.minimum_cohort, policy.exact_cohort, policy.minimum_threshold),
        ledger=ledger,
        require_secure_aggregation=policy.require_secure_aggregation,
        sessions=policy.maximum_membership_changes + 1,
        log=directory / LOG_FILE,
        schema=schema,
        limits=Limits(policy.maximum_rounds, policy.maximum_local_epochs, policy.maximum_local_steps),
        app=app,
        paused=(directory / PAUSED_FILE).exists,
    )


def installed() -> tuple[str, ...]:
    """Return the versions that the pod's site has installed, of this product and of Flower."""
    return tuple(f"{package} {version(package)}" for package in ("fl-app", "flwr"))


def write_log(path: Path, text: str) -> None:
    """Append to the pod's own log, which its owner alone may read; a full disk must not hide what is to be told."""
    with suppress(OSError), open(path, "a", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}\n")
