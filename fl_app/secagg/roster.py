"""The roster: who takes part in a session, signed by each, checked by each before anything secret leaves it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from fl_app.secagg.canonical import digest
from fl_app.secagg.crypto import HELLO, statement, verify
from fl_app.secagg.errors import NotApproved, PolicyRefused, RosterRefused, WrongKey
from fl_app.secagg.messages import Hello


@dataclass(frozen=True)
class CohortPolicy:
    """What a pod's owner asks of a cohort.

    Attributes
    ----------
    approved : mapping of name to 32-byte key
        The pods this owner aggregates with, each pinned to its identity key.
    minimum_cohort : int
        Fewest pods in a sum, this one included; never less than 2.
    exact_cohort : bool
        Whether every requested and every approved pod must be on the roster, and in every sum.
    minimum_threshold : int or None
        Lowest threshold accepted; None: more than half of the cohort, all of up to three.
    """

    approved: Mapping[str, bytes]
    minimum_cohort: int = 3
    exact_cohort: bool = False
    minimum_threshold: int | None = None


@dataclass(frozen=True)
class Roster:
    """The hellos of a session in canonical order (by identity key), and the digest R that names them."""

    hellos: tuple[Hello, ...]
    digest: bytes

    @classmethod
    def of(cls, hellos: Sequence[Hello]) -> "Roster":
        """Put hellos into canonical order; the server's way to make a roster."""
        ordered = tuple(sorted(hellos, key=lambda hello: hello.identity_key))
        return cls(ordered, digest("fl-app/secagg/1/roster", [hello.to_bytes() for hello in ordered]))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The pods' names in canonical order."""
        return tuple(hello.name for hello in self.hellos)

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    def position(self, name: str) -> int:
        """Return a pod's place in the canonical order; raises `KeyError` for a name that is not on the roster."""
        return self._positions[name]

    def neighbours(self, name: str) -> tuple[Hello, ...]:
        """Return the pods that share masks with ``name``: everyone else."""
        return tuple(hello for hello in self.hellos if hello.name != name)


def default_threshold(pods: int) -> int:
    """Answers needed for a sum: all of them up to three pods, then floor(2n/3) + 1."""
    return pods if pods <= 3 else 2 * pods // 3 + 1


def threshold_for(declared: int, pods: int) -> int:
    """Return the threshold of a cohort of ``pods``: as declared, or by the protocol's rule where 0 is declared."""
    return declared or default_threshold(pods)


def verify_hello(hello: Hello) -> None:
    """Raise `BadSignature` unless the hello is signed by the identity key it names."""
    message = statement(HELLO, hello.session, hello.name, "", hello.unsigned())
    verify(hello.identity_key, hello.signature, message, hello.name)


def check_approved(name: str, key: bytes, policy: CohortPolicy, owner: str) -> None:
    """Raise `NotApproved` or `WrongKey`, naming both pods, unless ``owner`` pins exactly this key for ``name``."""
    pinned = policy.approved.get(name)
    if pinned is None:
        raise NotApproved(f"pod '{owner}' does not approve pod '{name}'")
    if pinned != key:
        raise WrongKey(f"pod '{owner}' knows pod '{name}' by another key than the one it showed")


def check_roster(
    hellos: Sequence[Hello],
    own: Hello,
    requested: Sequence[str],
    threshold: int,
    policy: CohortPolicy,
) -> Roster:
    """Return the roster if this pod may join it; the checks run in the order of the protocol.

    Raises
    ------
    RosterRefused, BadSignature, NotApproved, WrongKey, PolicyRefused
        For the first check that fails.
    """
    # 1. This pod's own hello, unchanged: the keys in it are those whose private halves it has.
    if own not in hellos:
        raise RosterRefused(f"pod '{own.name}' does not find its own hello in the roster")
    # 2. Every hello as its pod signed it; no pod twice, under any of its names. One holder of two places would know
    #    a sum's masks from both ends.
    for hello in hellos:
        verify_hello(hello)
    for what in ("name", "identity_key", "sealing_key"):
        if len({getattr(hello, what) for hello in hellos}) != len(hellos):
            raise RosterRefused(f"the roster lists one {what.replace('_', ' ')} twice")
    # 3. One order, so that all pods compute the same digest, and who of two adds a mask and who subtracts it.
    roster = Roster.of(hellos)
    if list(roster.hellos) != list(hellos):
        raise RosterRefused("the roster is not in canonical order")
    # 4. All were asked the same: a hello of another session could be replayed into this one.
    for hello in hellos:
        if hello.session != own.session or hello.parameters != own.parameters:
            raise RosterRefused(f"pod '{hello.name}' was told another session or other parameters")
        if hello.name not in requested:
            raise RosterRefused(f"pod '{hello.name}' was not among the pods requested")
    # 5. The owner's word, last: whom it approves by key, and how large a sum must be.
    for hello in roster.neighbours(own.name):
        check_approved(hello.name, hello.identity_key, policy, own.name)
    check_cohort(own.name, len(hellos), len(requested), threshold_for(threshold, len(hellos)), policy)
    return roster


def check_cohort(owner: str, pods: int, requested: int, threshold: int, policy: CohortPolicy) -> None:
    """Raise `PolicyRefused` unless a cohort of ``pods`` with this threshold satisfies the owner and the protocol."""
    least = max(2, policy.minimum_cohort)
    if pods < least:
        raise PolicyRefused(f"pod '{owner}' asks for a cohort of at least {least} pods; this one has {pods}")
    if policy.exact_cohort and pods != requested:
        raise PolicyRefused(f"pod '{owner}' asks for the whole requested cohort of {requested}; this one has {pods}")
    if policy.exact_cohort and pods != len(policy.approved) + 1:  # the server chooses whom it requests
        raise PolicyRefused(f"pod '{owner}' asks for every pod it approves; this cohort has not all of them")
    # More than half, or two lists of survivors could each find enough signatures. Of up to three pods all: a sum
    # without one of them is a sum of at most two, from which each of the two can compute the other's.
    lowest = pods if pods <= 3 else pods // 2 + 1
    if policy.minimum_threshold is not None:
        lowest = max(lowest, min(policy.minimum_threshold, pods))
    if not lowest <= threshold <= pods:
        raise PolicyRefused(
            f"pod '{owner}' asks for a threshold of {lowest} to {pods} in a cohort of {pods}; this one is {threshold}"
        )
