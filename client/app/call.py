"""One message under way through a pod: in whose name it is answered, what is entered of it, and its session.

`MaskedApp` calls what is here; nothing here calls back.
"""

from dataclasses import dataclass, field

from flwr.app import ConfigRecord, Context, Message, RecordDict

from client.app.owner import Owner
from fl_app.flower import records
from fl_app.secagg.errors import NotApproved, PodPaused, ProtocolError, SessionRefused, SumRefused, WrongKey
from fl_app.secagg.ledger_protocol import Account
from fl_app.secagg.messages import Hello, Record
from fl_app.secagg.pod_session import PodSession

_STATE, _SESSION = "fl-app-secagg", "session"
"""Record and key under which the session lies in Flower's context, which is kept in memory from message to message."""
_OWNERS_WORD = (PodPaused, NotApproved, WrongKey)
"""Why a step that has begun is not answered, where its owner has stopped it: the step itself has not failed."""


@dataclass
class Call:
    """One message under way.

    Attributes
    ----------
    message, context : Message, Context
        As Flower hands them over.
    owner : Owner
        In whose name it is answered; read anew after a long computation.
    account, kind, round : Account, str, int
        What its entry in the ledger says: the run, series and cohort, then the message's type and 0, or the step's
        kind and round once the step has begun.
    """

    message: Message
    context: Context
    owner: Owner
    account: Account
    kind: str
    round: int = 0
    _known: tuple[bytes, PodSession] | None = field(default=None, repr=False)

    def enter(self, event: str, reply: Record, *, detail: bytes = b"", head: bytes = b"", beside: int = 0) -> bytes:
        """Enter that ``reply`` is given, with ``beside`` more bytes, and return the ledger's new head."""
        size = len(reply.to_bytes()) + beside
        return self.owner.ledger.enter(self.account, event, self.kind, size=size, detail=detail.hex(), head=head)

    def give(self, event: str, reply: Record) -> RecordDict:
        """Enter that ``reply`` is given, and return it as the content of a message."""
        self.enter(event, reply)
        return records.put(RecordDict(), reply)

    def give_hello(self, event: str, hello: Hello, published: records.Published) -> RecordDict:
        """Enter that a hello is given with what the pod publishes, and return both as the content of a message."""
        self.enter(event, hello, beside=len(published.to_bytes()))
        return records.put_published(records.put(RecordDict(), hello), published)

    def check_awake(self) -> None:
        """Raise `PodPaused` while the owner has paused the pod; its session is over then."""
        if self.owner.paused():
            if session := self.remembered():
                self.save(session.closed())
            raise PodPaused(f"pod '{self.owner.name}' is paused by its owner")

    def end_step(self, error: Exception) -> None:
        """Close the session if a step of it had begun, and has failed: another one would be another question.

        The ledger's entry on the failure, which names the step, keeps the pod out of the series from then on. A step
        that its owner has stopped has not failed: its entry names the message, as if it had not begun.
        """
        if not self.round and not isinstance(error, SumRefused):  # then the server has lied, whatever it asked
            return
        if isinstance(error, _OWNERS_WORD):
            self.kind, self.round = self.message.metadata.message_type, 0
        elif session := self.remembered():
            self.save(session.closed())

    def session(self) -> PodSession:
        """Return this pod's session in the run.

        Raises
        ------
        SessionRefused
            If there is none, as after a restart of the node.
        WrongKey, NotApproved
            If keys or approvals are not those the session began with. The session is closed first: an approval given
            again later does not bring it back.
        """
        session = self.remembered()
        if session is None:
            raise SessionRefused(f"pod '{self.owner.name}' has no session in this run; it may have been restarted")
        self.account = session.account
        try:
            session.check_keys(self.owner.signer, self.owner.cohort)
        except ProtocolError:
            self.save(session.closed())
            raise
        return session

    def remembered(self) -> PodSession | None:
        """Return the session that was saved, if any."""
        record = self.context.state.get(_STATE)
        data = record.get(_SESSION) if isinstance(record, ConfigRecord) else None
        if not isinstance(data, bytes):
            return None
        if self._known is None or self._known[0] != data:
            self._known = data, PodSession.from_bytes(data)
        return self._known[1]

    def save(self, session: PodSession) -> None:
        """Remember the session until the run's next message."""
        self._known = session.to_bytes(), session
        self.context.state[_STATE] = ConfigRecord({_SESSION: self._known[0]})
