import secrets

import pytest
from Crypto.Protocol.SecretSharing import Shamir
from hypothesis import given
from hypothesis import strategies as st

from fl_app.secagg.errors import AggregateRefused
from fl_app.secagg.shamir import combine, commitment, split

SEEDS = st.binary(min_size=32, max_size=32)


@given(SEEDS, st.data())
def test_any_threshold_of_holders_give_the_seed_back(seed: bytes, data: st.DataObject) -> None:
    holders = data.draw(st.integers(2, 12))
    threshold = data.draw(st.integers(2, holders))
    shares = split(seed, threshold, holders)
    chosen = data.draw(st.permutations(range(holders)))[:threshold]
    held = {place + 1: shares[place] for place in chosen}
    assert combine(held, threshold, commitment(seed), "a") == seed
    halves = [[(index, share[part : part + 16]) for index, share in held.items()] for part in (0, 16)]
    assert b"".join(Shamir.combine(half, ssss=False) for half in halves) == seed


def test_a_large_cohort_gives_its_seed_back() -> None:
    seed = secrets.token_bytes(32)
    shares = split(seed, 34, 50)
    assert combine({place + 1: shares[place] for place in range(16, 50)}, 34, commitment(seed), "a") == seed


@pytest.mark.parametrize("byte", [0, 15, 16, 31])
def test_a_wrong_share_is_passed_over_while_enough_others_are_there(byte: int) -> None:
    seed = secrets.token_bytes(32)
    shares = dict(enumerate(split(seed, 3, 5), start=1))
    bent = bytearray(shares[1])
    bent[byte] ^= 1
    shares[1] = bytes(bent)
    assert combine(shares, 3, commitment(seed), "a") == seed
    with pytest.raises(AggregateRefused, match="pod 'a' do not give back"):
        combine({index: shares[index] for index in (1, 2, 3)}, 3, commitment(seed), "a")
    with pytest.raises(AggregateRefused, match="2 shares of pod 'a' came, 3 are needed"):
        combine({index: shares[index] for index in (2, 3)}, 3, commitment(seed), "a")
