"""The pod's side of unmasking: what it opens, for whose sum, and how it is kept from opening too much.

A sum over the survivors of a step still holds their self masks and, after a loss, the pair masks that they share with
the lost pods. A pod opens its shares of the survivors' self masks and its pair seeds with the lost, never both for one
pod, and for one list of survivors only. After a loss a threshold of pods must have signed that list: otherwise a lying
server could give different pods different lists, and so isolate a smaller sum.

The phases in which a pod signs and opens are those of `session_state.TRANSITIONS`.
"""

from dataclasses import replace

from fl_app.secagg.binding import pair_seed, self_share_key, survivors_statement
from fl_app.secagg.crypto import SIGNATURE_BYTES, UNMASK, Signer, statement, unbox, verify
from fl_app.secagg.errors import SessionRefused, ShareRefused, SurvivorsRefused
from fl_app.secagg.keystream import SEED_BYTES
from fl_app.secagg.ledger_protocol import Ledger
from fl_app.secagg.messages import SurvivorsRequest, UnmaskReply, UnmaskRequest, Witness
from fl_app.secagg.pod_session import PodSession
from fl_app.secagg.roster import CohortPolicy
from fl_app.secagg.session_state import Event


def witness(
    session: PodSession, request: SurvivorsRequest, policy: CohortPolicy, ledger: Ledger, signer: Signer
) -> tuple[PodSession, Witness]:
    """Sign whose vectors the sum is made of; one list for each label, whatever the server claims later.

    Raises
    ------
    ProtocolError
        If this pod has not answered under the label, or may not be part of such a sum.
    """
    following = session.phase_after(Event.SIGN_SURVIVORS)
    _check_survivors(session, request.label, request.survivors, policy)
    message = survivors_statement(request.label, session.own.name, request.survivors)
    signed = Witness(session.own.name, signer.sign(message))
    head = _enter_survivors(session, "survivors", request, ledger, len(signed.to_bytes()))
    return replace(session, phase=following, head=head), signed


def unmask(
    session: PodSession, request: UnmaskRequest, policy: CohortPolicy, ledger: Ledger, signer: Signer
) -> tuple[PodSession, UnmaskReply]:
    """Open this pod's share of each survivor's self mask, and its pair seed with each pod that was lost.

    Raises
    ------
    ProtocolError
        If the survivors are not a list this pod may unmask, are not signed by a threshold of pods after a loss, or
        differ from the list it signed or opened before under the label; or if a share does not open.
    """
    lost, me = _lost(session, request), session.own.name
    following = session.phase_after(Event.UNMASK_AFTER_LOSS if lost else Event.UNMASK)
    _check_survivors(session, request.label, request.survivors, policy)
    if lost:
        _check_witnesses(session, request)
    if len(request.shares) != len(request.survivors):
        raise ShareRefused(f"pod '{me}' was not sent exactly one share of each survivor's self mask")
    boxes = zip(request.survivors, request.shares, strict=True)
    opened = tuple(_open(session, maker, boxed, request.label) for maker, boxed in boxes)
    seeds = tuple(pair_seed(session.pair_keys[name], request.label) for name in lost)
    reply = UnmaskReply(request.label, opened, seeds, bytes(SIGNATURE_BYTES))
    signature = signer.sign(statement(UNMASK, request.label, me, "", reply.content()))
    reply = replace(reply, signature=signature)
    # Entered before it leaves. The ledger holds what a restart forgets: which list this pod has spoken of.
    head = _enter_survivors(session, "unmask", request, ledger, len(reply.to_bytes()))
    return replace(session, phase=following, head=head), reply


def _lost(session: PodSession, request: UnmaskRequest) -> list[str]:
    names = session.roster.names if session.roster else ()
    return [name for name in names if name not in request.survivors]


def _check_survivors(session: PodSession, label: bytes, survivors: tuple[str, ...], policy: CohortPolicy) -> None:
    """Raise unless this pod answered under ``label`` and may be part of a sum of ``survivors``."""
    roster, me = session.joined(), session.own.name
    if session.threshold == len(roster.hellos):
        raise SessionRefused("in this session every pod must answer; there is nothing to unmask")
    # The label of the step answered last: an older sum was either opened then or given up, and is not opened now with
    # other survivors.
    if label != session.label:
        raise SessionRefused(f"pod '{me}' has not just answered under this label")
    named = set(survivors)
    if survivors != tuple(name for name in roster.names if name in named):
        raise SurvivorsRefused("the survivors are not pods of the roster, each once and in its order")
    # Whoever claims that this pod is lost asks the others for its pair seeds; its self mask must stay shut then.
    if me not in survivors:
        raise SurvivorsRefused(f"pod '{me}' is named lost and asked to unmask")
    if policy.exact_cohort and survivors != roster.names:
        raise SurvivorsRefused(f"pod '{me}' asks for the whole cohort in every sum")
    least = max(session.threshold, policy.minimum_cohort, 2)
    if len(survivors) < least:
        raise SurvivorsRefused(f"pod '{me}' unmasks sums of at least {least} pods; this one has {len(survivors)}")


def _check_witnesses(session: PodSession, request: UnmaskRequest) -> None:
    """Raise unless a threshold of different survivors have signed the list of survivors."""
    roster = session.joined()
    names = {signed.name for signed in request.witnesses}
    if len(names) != len(request.witnesses) or not names <= set(request.survivors) or len(names) < session.threshold:
        raise SurvivorsRefused(f"{session.threshold} different survivors must have signed the list of survivors")
    # A threshold is more than half, so two lists with as many signatures each share a pod; an honest one signs one list
    # a label.
    for signed in request.witnesses:
        key = roster.hellos[roster.position(signed.name)].identity_key
        message = survivors_statement(request.label, signed.name, request.survivors)
        verify(key, signed.signature, message, signed.name)


def _enter_survivors(
    session: PodSession, event: str, request: SurvivorsRequest | UnmaskRequest, ledger: Ledger, size: int
) -> bytes:
    """Enter the survivors in the ledger, which refuses a second list under the same label; return its head."""
    keys = session.account.cohort
    account = replace(session.account, cohort={name: keys[name] for name in request.survivors})
    return ledger.enter_survivors(account, event, request.label, session.head, size)


def _open(session: PodSession, maker: str, boxed: bytes, label: bytes) -> bytes:
    """Return this pod's share of one survivor's self mask.

    No signature is needed: the key of the box follows from the pair's own, which the two alone know, and from the label
    and the way that the share goes. What somebody else has made, or what comes from elsewhere, does not open.
    """
    me = session.own.name
    opened = unbox(boxed, self_share_key(session.key_with(maker), label, maker, me), maker)
    if len(opened) != SEED_BYTES:
        raise ShareRefused(f"a self-mask share of pod '{maker}' is not {SEED_BYTES} bytes long")
    return opened
