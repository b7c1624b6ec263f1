"""Typed errors of the protocol.

Every text here may leave a pod, so it is made of public things only: pod names, step names, declared sizes and
bounds. It never holds a data value, a count of rows, a key or a path.
"""

from collections.abc import Iterable

from fl_app.errors import FlAppError


class ProtocolError(FlAppError):
    """Root of the protocol's errors; ``code`` names the check that failed and travels with the text."""

    code = "protocol"


class MalformedMessage(ProtocolError):
    """Bytes that are not a message of this protocol, or a message with a wrong field."""

    code = "malformed"


class UnsupportedField(ProtocolError):
    """A prime other than 2^61-1 and 2^31-1."""

    code = "field"


class CapacityError(ProtocolError):
    """The declared bounds leave too little room in the field for the sum."""

    code = "capacity"


class ValueRefused(ProtocolError):
    """A value to be encoded is not finite, out of its declared bound, or of the wrong shape or type."""

    code = "value"


class BadSignature(ProtocolError):
    """A signature does not verify."""

    code = "signature"


class TooLarge(ProtocolError):
    """A message, or what a pod publishes in one, has more bytes than are read."""

    code = "size"


class RosterRefused(ProtocolError):
    """The roster is not one this pod may join: own entry altered, entries repeated, out of order or mismatched."""

    code = "roster"


class NotApproved(ProtocolError):
    """A pod takes part that is not on this owner's approved list; ``approves`` are those that are."""

    code = "not-approved"

    def __init__(self, text: str, approves: Iterable[str] = ()) -> None:
        super().__init__(text)
        self.approves = tuple(approves)


class WrongKey(ProtocolError):
    """A pod shows another identity key than the one pinned under its name."""

    code = "wrong-key"


class PolicyRefused(ProtocolError):
    """The request breaks the owner's policy (cohort too small, threshold too low, plain averaging...)."""

    code = "policy"


class PodPaused(ProtocolError):
    """The pod's owner has paused it."""

    code = "paused"


class ShareRefused(ProtocolError):
    """A sealed share is missing, repeated, misdirected or altered."""

    code = "share"


class SessionRefused(ProtocolError):
    """A message for a session this pod does not have, or at the wrong moment of it."""

    code = "session"


class OutOfPhase(SessionRefused):
    """A message that the session's phase has no place for; the text names ``event`` and ``phase``.

    `fl_app.secagg.session_state.TRANSITIONS` has the events that each phase takes.
    """

    def __init__(self, text: str, event: str, phase: str) -> None:
        super().__init__(text)
        self.event, self.phase = event, phase


class SharesOutOfPhase(OutOfPhase, ShareRefused):
    """The same, where what is missing or comes again are the neighbours' shares."""

    code = "share"


class SurvivorsRefused(ProtocolError):
    """The list of survivors of a step is not one this pod unmasks for: too short, without it, unsigned or a second."""

    code = "survivors"


class AlreadyAnswered(ProtocolError):
    """This (run, kind, round) was answered before; a second answer would reuse what must be used once."""

    code = "answered"


class PartIsOver(ProtocolError):
    """A step of this series has failed at the pod, which takes no further part in it."""

    code = "over"


class LedgerRefused(ProtocolError):
    """The pod's ledger is missing or inconsistent for a run under way."""

    code = "ledger"


class AggregateRefused(ProtocolError):
    """The decoded sum is not to be trusted: a roll call or a capacity check failed."""

    code = "aggregate"


class SumRefused(ProtocolError):
    """What the server shows as the sum of a step is not the cohort's: the proof of it does not hold."""

    code = "sum"
