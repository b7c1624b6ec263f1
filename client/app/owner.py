"""The owner's side of every answer: name, key, approvals, policy and ledger of the pod that is asked."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

from client.app.budget import Terms
from client.app.ledger import Ledger
from fl_app.identity.key_file import Identity
from fl_app.identity.known_pods import Keyring, known_pods
from fl_app.pod.policy import Policy
from fl_app.secagg.crypto import Signer
from fl_app.secagg.roster import CohortPolicy
from fl_app.system.home import LEDGER_FILE, LOG_FILE, PAUSED_FILE, REPLICAS_DIRECTORY, pod_home
from fl_app.system.printable import printable

VERIFIED_APP = "FL_APP_VERIFIED_APP"
"""Set by the guard that starts this process: SHA-256 of the app's bundle, which the owner has approved."""


def _nothing(asked: str) -> str:
    return ""


def _never() -> bool:
    return False


def _any_rows() -> str:
    return ""


@dataclass(frozen=True)
class Owner:
    """What a pod answers with.

    Attributes
    ----------
    name : str
        The pod's name.
    signer : Signer
        Its identity key.
    approved : mapping of str to bytes
        The approved pods, each with its pinned identity key (32 bytes).
    ledger : Ledger
        The owner's record.
    policy : Policy
        The owner's terms. Those of a day are enforced by the ledger, which counts.
    log : Path or None
        File for errors that are told to nobody but the owner; None for the process's own log alone.
    schema : callable
        Returns the text that the owner publishes about the table, given what the modeller proposes for it ("" for
        nothing).
    app : str
        Hash of the app's bundle that the owner's guard has verified; "" where there is no guard.
    paused : callable
        Says whether the owner has paused the pod.
    replicas : Path
        Directory of what the pod has followed of each series; see `client.app.replica_store`.
    declares : callable
        Returns what the pod declares of itself beside its schema, given the settings of a run.
    frame : callable
        Names what must stay the same while a private series goes on, so that each of its rows stays for training or
        held out.
    """

    name: str
    signer: Signer
    approved: Mapping[str, bytes]
    ledger: Ledger
    policy: Policy = field(default_factory=Policy)
    log: Path | None = None
    schema: Callable[[str], str] = _nothing
    app: str = ""
    paused: Callable[[], bool] = _never
    replicas: Path = Path("replicas")
    declares: Callable[[str], str] = _nothing
    frame: Callable[[], str] = _any_rows

    @property
    def terms(self) -> Terms:
        """The owner's privacy budget."""
        return Terms(self.policy.epsilon, self.policy.delta)

    @property
    def cohort(self) -> CohortPolicy:
        """What the owner asks of a cohort, as the protocol knows it."""
        policy = self.policy
        return CohortPolicy(self.approved, policy.minimum_cohort, policy.exact_cohort, policy.minimum_threshold)

    @property
    def sessions(self) -> int:
        """Most sessions one run may begin: the first, and one for each change of members."""
        return self.policy.maximum_membership_changes + 1


def owner_of(
    name: str,
    approved_pods: Sequence[str],
    policy: Policy,
    *,
    home: Path | None = None,
    schema: Callable[[str], str] = _nothing,
    declares: Callable[[str], str] = _nothing,
    frame: Callable[[], str] = _any_rows,
) -> Owner:
    """Return the owner of pod ``name`` with the key, the keyring and the ledger of its home.

    A pod on the approved list whose key the keyring does not hold is not approved: there is nothing to pin.
    """
    directory, keyring = pod_home(name, home), Keyring.load(known_pods(home))
    app = os.environ.get(VERIFIED_APP, "")
    ledger = Ledger(
        directory / LEDGER_FILE,
        app,
        runs_per_day=policy.maximum_runs_per_day,
        rounds_per_day=policy.maximum_rounds_per_day,
        failed_steps_per_day=policy.maximum_failed_steps_per_day,
    )
    return Owner(
        name=name,
        signer=Identity.load(directory),
        approved={other: key for other in approved_pods if other != name and (key := keyring.get(other)) is not None},
        ledger=ledger,
        policy=policy,
        log=directory / LOG_FILE,
        schema=schema,
        app=app,
        paused=(directory / PAUSED_FILE).exists,
        replicas=directory / REPLICAS_DIRECTORY,
        declares=declares,
        frame=frame,
    )


@cache
def installed() -> tuple[str, ...]:
    """Return the versions that the pod's site has installed, of this product and of Flower."""
    return tuple(f"{package} {version(package)}" for package in ("fl-app", "flwr"))


def write_log(path: Path, text: str) -> None:
    """Append to the pod's own log, which its owner alone may read. A full disk must not keep the answer back."""
    with suppress(OSError), open(path, "a", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {printable(text)}\n")
