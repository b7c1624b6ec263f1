"""Sealed share seeds that are withheld, replayed, redirected, altered or forged on their way."""

from dataclasses import replace

import pytest

from fl_app.flower import records
from fl_app.secagg.binding import share_info
from fl_app.secagg.crypto import SHARE, seal, statement
from fl_app.secagg.messages import SealedShare
from tests.adversary.server import Server, assert_refused, signed
from tests.support.pods_in_process import NAMES, identity

A, B, C = NAMES[:3]


def resigned(server: Server, share: SealedShare) -> SealedShare:
    """Return a share with a good signature of its sender's: what a lying peer can send."""
    said = statement(SHARE, server.aggregator.roster.digest, share.sender, share.receiver, share.sealed)
    return replace(share, signature=identity(share.sender).sign(said))


def with_share(server: Server, receiver: str, sender: str, **changes: object) -> list[SealedShare]:
    shares = server.aggregator.shares_for(receiver)
    return [replace(s, **changes) if s.sender == sender else s for s in shares]  # type: ignore[arg-type]


def test_no_share_delivered_at_all(server: Server) -> None:
    assert_refused(server.train(A, shares=()), "share", "has not received")


def test_one_share_not_delivered(server: Server) -> None:
    assert_refused(server.train(A, shares=server.aggregator.shares_for(A)[:1]), "share", "exactly one")


def test_one_share_delivered_twice(server: Server) -> None:
    shares = server.aggregator.shares_for(A)
    assert_refused(server.train(A, shares=[*shares, shares[0]]), "share", "exactly one")


def test_other_shares_after_the_first_were_opened(server: Server) -> None:
    server.collect()
    assert_refused(server.train(A, server.request(2)), "share", "cannot open shares in phase 'answered'", "already")


def test_a_share_of_an_earlier_session_is_refused(server: Server) -> None:
    old = server.aggregator.shares_for(A)
    server.new_session()
    server.join()
    assert_refused(server.train(A, shares=old), "share", "another pod or session")


def test_a_share_of_an_earlier_session_under_this_ones_name_is_refused(server: Server) -> None:
    old = server.aggregator.shares_for(A)
    server.new_session()
    server.join()
    renamed = [replace(share, session=server.aggregator.session) for share in old]
    assert_refused(server.train(A, shares=renamed), "signature")


def test_a_share_redirected_to_another_pod_is_refused(server: Server) -> None:
    for_c = {share.sender: share for share in server.aggregator.shares_for(C)}
    shares = [for_c.get(share.sender, share) for share in server.aggregator.shares_for(A)]
    assert_refused(server.train(A, shares=shares), "share", "another pod or session")


def test_a_share_readdressed_to_another_pod_is_refused(server: Server) -> None:
    for_c = next(share for share in server.aggregator.shares_for(C) if share.sender == B)
    assert_refused(server.train(A, shares=with_share(server, A, B, sealed=for_c.sealed)), "signature", B)


@pytest.mark.parametrize("bit", [0, 255, 8 * 48])
def test_a_share_with_a_bit_flipped_is_refused(server: Server, bit: int) -> None:
    sealed = next(share for share in server.aggregator.shares_for(A) if share.sender == B).sealed
    flipped = bytearray(sealed)
    flipped[bit // 8] ^= 1 << bit % 8
    assert_refused(server.train(A, shares=with_share(server, A, B, sealed=bytes(flipped))), "signature", B)


def test_a_share_forged_by_the_server_is_refused(server: Server) -> None:
    """HPKE's base mode lets anyone seal; only the signature tells who did."""
    receiver = server.hellos[A].sealing_key
    sealed = seal(bytes(32), receiver, share_info(server.aggregator.roster, B, A))
    assert_refused(server.train(A, shares=with_share(server, A, B, sealed=sealed)), "signature", B)


def test_a_share_that_a_lying_peer_has_altered_is_refused(server: Server) -> None:
    share = next(share for share in server.aggregator.shares_for(A) if share.sender == B)
    altered = resigned(server, replace(share, sealed=share.sealed[:-1] + bytes([share.sealed[-1] ^ 1])))
    shares = with_share(server, A, B, sealed=altered.sealed, signature=altered.signature)
    assert_refused(server.train(A, shares=shares), "share", "does not open")


def test_a_share_of_another_length_from_a_lying_peer_is_refused(server: Server) -> None:
    receiver = server.hellos[A].sealing_key
    sealed = seal(bytes(31), receiver, share_info(server.aggregator.roster, B, A))
    share = resigned(server, replace(server.aggregator.shares_for(A)[0], sender=B, sealed=sealed))
    shares = with_share(server, A, B, sealed=sealed, signature=share.signature)
    assert_refused(server.train(A, shares=shares), "share", "32 bytes")


def test_a_lying_peer_with_a_key_that_seals_for_nobody_is_refused(server: Server) -> None:
    server.new_session()
    a, b, c = server.gather_hellos()
    weak = signed(b, sealing_key=bytes(32))  # a point of small order: the shared secret would be public
    hellos = sorted((a, weak, c), key=lambda hello: hello.identity_key)
    assert_refused(server.roster(A, hellos), "share", "not usable")


def test_the_roster_asked_for_again_gets_the_same_shares(server: Server) -> None:
    hellos = server.aggregator.roster.hellos
    first, second = (records.take(server.roster(A, hellos), records.RosterReply) for _ in range(2))
    assert first == second
