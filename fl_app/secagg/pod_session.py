"""The pod's side of a session, sans-IO: what each event of the state machine does, in the order of a run.

`PodSession.open` makes the hello; `accept_roster` checks the roster and seals a share for every neighbour;
`accept_shares` opens the shares received; `begin` spends one step and `mask` answers it; `closed` erases the secrets.
`unmasking` has the rest: what is signed and opened after a step. Every transition returns a new session, in the phase
that `session_state.TRANSITIONS` gives, and leaves the old one as it was, so a refusal changes nothing.

The state between two messages is ``to_bytes``: it holds the session's secrets and belongs in memory only. Losing it
ends the session and gives nothing away.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fl_app.secagg.binding import (
    DIGEST_BYTES,
    check_followed,
    field_for,
    group_commitment,
    group_key,
    label,
    layout_for,
    pair_key,
    pair_seed,
    reply_statement,
    self_share_key,
    share_info,
    tag_key,
)
from fl_app.secagg.codec import Encoder
from fl_app.secagg.crypto import HELLO, SHARE, SIGNATURE_BYTES, Signer, box, seal, statement, unseal, verify
from fl_app.secagg.errors import RosterRefused, SessionRefused, ShareRefused, WrongKey
from fl_app.secagg.field import Words
from fl_app.secagg.keystream import SEED_BYTES
from fl_app.secagg.ledger_protocol import Ledger
from fl_app.secagg.masking import mask
from fl_app.secagg.messages import MOST_ROUNDS, TRAIN, Hello, MaskedReply, Parameters, SealedShare, Step
from fl_app.secagg.roster import CohortPolicy, Roster, check_approved, check_roster
from fl_app.secagg.session_state import Event, Phase, SessionState
from fl_app.secagg.shamir import commitment, split
from fl_app.secagg.tags import Tag
from fl_app.secagg.verified_sum import Pending


class PodSession(SessionState):
    """A pod's session and its transitions; the fields are those of `SessionState`."""

    @classmethod
    def open(
        cls,
        name: str,
        signer: Signer,
        session: bytes,
        parameters: Parameters,
        published: bytes,
        head: bytes,
        place: int = 0,
        followed: bytes = bytes(DIGEST_BYTES),
    ) -> Self:
        """Begin a session; ``own`` of the result is the hello to send.

        ``published`` is the digest of what is published with it, and ``head`` that of the ledger's entry. ``place`` and
        ``followed`` say what the pod has followed, as its hello does.
        """
        sealing = X25519PrivateKey.generate()
        group_share = secrets.token_bytes(SEED_BYTES) if parameters.verified else b""
        hello = Hello(
            session=session,
            name=name,
            identity_key=signer.public_bytes,
            sealing_key=sealing.public_key().public_bytes_raw(),
            parameters=parameters.digest(),
            published=published,
            group=group_commitment(session, name, group_share) if group_share else bytes(DIGEST_BYTES),
            place=place,
            followed=followed,
            signature=bytes(SIGNATURE_BYTES),
        )
        signature = signer.sign(statement(HELLO, session, name, "", hello.unsigned()))
        own = replace(hello, signature=signature)
        sealing_secret = sealing.private_bytes_raw()
        return cls(own, parameters, head, Phase.OPENED, sealing_secret=sealing_secret, group_share=group_share)

    def accept_roster(self, hellos: Sequence[Hello], signer: Signer, policy: CohortPolicy) -> Self:
        """Join the roster; ``sealed`` of the result holds one share for each neighbour, the same when asked again.

        Raises
        ------
        ProtocolError
            If the roster is not one this pod may join, or another one was joined before.
        """
        following = self.phase_after(Event.ACCEPT_ROSTER)
        if self.roster is not None:
            if list(self.roster.hellos) != list(hellos):
                raise RosterRefused(f"pod '{self.own.name}' has joined another roster in this session")
            return self
        roster = check_roster(hellos, self.own, self.parameters.pods, self.parameters.threshold, policy)
        shares = {other.name: secrets.token_bytes(SEED_BYTES) for other in roster.neighbours(self.own.name)}
        sealed = tuple(
            self._sealed_share(roster, other, shares[other.name], signer) for other in roster.neighbours(self.own.name)
        )
        return replace(self, phase=following, roster=roster, sealed=sealed, shares=shares)

    def _sealed_share(self, roster: Roster, receiver: Hello, share: bytes, signer: Signer) -> SealedShare:
        me = self.own.name
        sealed = seal(share + self.group_share, receiver.sealing_key, share_info(roster, me, receiver.name))
        signature = signer.sign(statement(SHARE, roster.digest, me, receiver.name, sealed))
        return SealedShare(self.own.session, me, receiver.name, sealed, signature)

    def accept_shares(self, received: Sequence[SealedShare]) -> Self:
        """Open the shares of all neighbours and derive the pair keys, and in a verified session the group key.

        Raises
        ------
        ShareRefused, BadSignature
            Unless there is exactly one good share from every neighbour.
        OutOfPhase
            Before the roster, and once the shares have been opened.
        """
        following, roster, me = self.phase_after(Event.ACCEPT_SHARES), self.joined(), self.own.name
        senders = [share.sender for share in received]
        if sorted(senders) != sorted(hello.name for hello in roster.neighbours(me)):
            raise ShareRefused(f"pod '{me}' did not receive exactly one share from each neighbour")
        keys, group = {}, {me: self.group_share}
        for other in roster.neighbours(me):
            theirs, group[other.name] = self._opened_share(roster, other, received[senders.index(other.name)])
            keys[other.name] = pair_key(roster, me, other.name, (self.shares[other.name], theirs))
        common = group_key(roster, group) if self.parameters.verified else b""
        # The shares have done their work: without them a pair key is known to the two alone, whatever leaks later.
        return replace(self, phase=following, pair_keys=keys, shares={}, group_share=b"", group_key=common)

    def _opened_share(self, roster: Roster, sender: Hello, share: SealedShare) -> tuple[bytes, bytes]:
        """Return what is under a neighbour's seal, of which its signature must be good: its two shares.

        That of the pair's key, 32 bytes, and that of the group's, as many in a verified session and none otherwise.
        """
        me = self.own.name
        if share.receiver != me or share.session != self.own.session:
            raise ShareRefused(f"a share from pod '{sender.name}' was meant for another pod or session")
        # HPKE's base mode lets anybody seal: only the signature says who did.
        signed = statement(SHARE, roster.digest, sender.name, me, share.sealed)
        verify(sender.identity_key, share.signature, signed, sender.name)
        opened = unseal(share.sealed, self.sealing_secret, share_info(roster, sender.name, me), sender.name)
        size = SEED_BYTES * (2 if self.parameters.verified else 1)
        if len(opened) != size:
            raise ShareRefused(f"the share from pod '{sender.name}' is not {size} bytes long")
        pair, group = opened[:SEED_BYTES], opened[SEED_BYTES:]
        # A pod that gave the others different shares would leave them with different keys, and each with sums that it
        # must refuse; the one that did it is named here.
        if self.parameters.verified and group_commitment(sender.session, sender.name, group) != sender.group:
            raise ShareRefused(f"the share of the group key from pod '{sender.name}' is not the one in its hello")
        return pair, group

    def begin(self, step: Step, request: bytes, ledger: Ledger, followed: bytes = b"") -> Self:
        """Spend one step, before anything is computed for it: whatever goes wrong later, it is not asked again.

        Parameters
        ----------
        step : Step
            Which step, and the layout of its vector.
        request : bytes
            Digest of the whole common request.
        followed : bytes
            In a verified session the digest of what this pod has followed, 32 bytes, which the label then covers.

        Raises
        ------
        ProtocolError
            If the step may not be answered; then it is not spent.
        """
        following = self.phase_after(Event.BEGIN)
        self.check_step(step)
        layout_for(self.parameters, step, len(self.joined().hellos))  # raises for a layout that is not the plan's
        check_followed(self.parameters, followed)
        bound = label(self.joined(), step, request, followed)
        head = ledger.enter_begin(self.account, step.kind, step.round, bound, self.head)
        return replace(self, phase=following, head=head, label=bound)

    def mask(
        self,
        step: Step,
        request: bytes,
        weight: int,
        values: Mapping[str, npt.NDArray[Any]],
        ledger: Ledger,
        signer: Signer,
        followed: bytes = b"",
    ) -> tuple[Self, Words, MaskedReply]:
        """Answer the step that has begun: return the new state, the masked vector and what goes with it.

        The answer is in the ledger when this returns.

        Parameters
        ----------
        step, request, followed : Step, bytes, bytes
            As they were given to `begin`.
        weight : int
            This pod's weight.
        values : mapping of name to array
            Its flat arrays, by segment name; see `Encoder`.

        Raises
        ------
        ProtocolError
            If it has not begun or the values do not fit; then nothing is returned.
        """
        is_last = self.parameters.is_last(step.kind, step.round)
        following = self.phase_after(Event.MASK_LAST if is_last else Event.MASK)
        roster, me = self.joined(), self.own.name
        bound = label(roster, step, request, followed)
        if self.label != bound:
            raise SessionRefused(f"pod '{me}' has not begun this step")
        layout = layout_for(self.parameters, step, len(roster.hellos))
        encoder = Encoder(layout, weight, values)
        # Of two pods the first in the roster adds the pair's mask and the second subtracts it.
        place, seeds = roster.position(me), {name: pair_seed(key, bound) for name, key in self.pair_keys.items()}
        add = [seed for name, seed in seeds.items() if place < roster.position(name)]
        subtract = [seed for name, seed in seeds.items() if place > roster.position(name)]
        committed, shares = b"", tuple[bytes, ...]()
        if self.threshold < len(roster.hellos):
            # The server may claim that this pod was lost, and be given its pair seeds. The self mask is then what
            # hides the vector: of one pod either the one or the other is opened.
            own = secrets.token_bytes(SEED_BYTES)
            add.append(own)
            committed, shares = commitment(own), self._self_shares(own, bound)
        tag = Tag(layout, tag_key(self.group_key, bound), me) if self.parameters.verified else None
        vector = mask(layout, encoder, add, subtract, tag)
        reply = MaskedReply(committed, shares, bytes(SIGNATURE_BYTES))
        reply = replace(reply, signature=signer.sign(reply_statement(bound, me, vector, reply)))
        size = vector.nbytes + len(reply.to_bytes())
        head = ledger.enter_answer(self.account, step.kind, step.round, bound, self.head, size)
        return replace(self, phase=following, head=head), vector, reply

    def _self_shares(self, own: bytes, bound: bytes) -> tuple[bytes, ...]:
        """Return the shares of this step's self mask in boxes, one for every pod of the roster, this one included."""
        names, me = self.joined().names, self.own.name
        shares = zip(names, split(own, self.threshold, len(names)), strict=True)
        return tuple(box(share, self_share_key(self.key_with(holder), bound, me, holder)) for holder, share in shares)

    def pending(self, step: Step) -> Pending:
        """Return what is needed to check the sum of the step just answered, now or when the session is over.

        Raises
        ------
        SessionRefused
            If the session is not verified, or no step has just been answered in it.
        """
        if self.phase not in (Phase.ANSWERED, Phase.OVER) or not self.parameters.verified:
            raise SessionRefused(f"pod '{self.own.name}' has no answered step whose sum it could check")
        return Pending(
            label=self.label,
            key=tag_key(self.group_key, self.label),
            prime_q=field_for(self.parameters, step.kind).prime,
            max_weight=self.parameters.max_weight,
            classes=self.parameters.step(step.kind).classes,
            sizes=step.sizes,
            kind=step.kind,
            round=step.round,
            names=self.joined().names,
            threshold=self.threshold,
        )

    def check_step(self, step: Step) -> None:
        """Raise unless ``step`` belongs to this session and its plan."""
        if step.session != self.own.session:
            raise SessionRefused(f"pod '{self.own.name}' was asked for a step of another session")
        declared = self.parameters.step(step.kind).rounds
        most = declared if step.kind == TRAIN else min(declared, MOST_ROUNDS.get(step.kind, 1))
        if not 1 <= step.round <= most:
            raise SessionRefused(f"round {step.round} of '{step.kind}' was not declared for this session")

    def check_step_in_clear(self, step: Step) -> None:
        """Raise unless ``step`` may be answered in the clear at this point of the session."""
        self.phase_after(Event.ANSWER_IN_CLEAR)
        self.check_step(step)

    def check_keys(self, signer: Signer, policy: CohortPolicy) -> None:
        """Raise unless every key of this session is still what it was: the pod's own, and those its owner pins.

        Raises
        ------
        WrongKey, NotApproved
            If a key was replaced or an approval taken back since the session began.
        """
        me = self.own.name
        if signer.public_bytes != self.own.identity_key:
            raise WrongKey(f"pod '{me}' has another identity key than when this session began")
        for other in self.roster.neighbours(me) if self.roster else ():
            check_approved(other.name, other.identity_key, policy, me)

    def at(self, head: bytes) -> Self:
        """Return the same session with another head of the ledger to remember."""
        return replace(self, head=head)

    def closed(self) -> Self:
        """Return what is left when the session ends: the ledger's head, and no secret."""
        following = self.phase_after(Event.CLOSE)
        return type(self)(self.own, self.parameters, self.head, following)
