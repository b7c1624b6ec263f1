import secrets

import pytest
from Crypto.Protocol.SecretSharing import Shamir
from hypothesis import given
from hypothesis import strategies as st

from fl_app.secagg.errors import AggregateRefused
from fl_app.secagg.shamir import combine, commitment, split

SEEDS = st.binary(min_size=32, max_size=32)
HALVES = (0, 16)


def combined(shares: dict[int, bytes], threshold: int, seed: bytes) -> bytes:
    """Put one seed together."""
    return combine({holder: [share] for holder, share in shares.items()}, threshold, {"a": commitment(seed)})["a"]


@given(SEEDS, st.data())
def test_any_threshold_of_holders_give_the_seed_back_and_to_the_library_too(seed: bytes, data: st.DataObject) -> None:
    holders = data.draw(st.integers(2, 12))
    threshold = data.draw(st.integers(2, holders))
    shares = split(seed, threshold, holders)
    chosen = data.draw(st.permutations(range(holders)))[:threshold]
    held = {place + 1: shares[place] for place in chosen}
    assert combined(held, threshold, seed) == seed
    halves = [[(index, share[part : part + 16]) for index, share in held.items()] for part in HALVES]
    assert b"".join(Shamir.combine(half, ssss=False) for half in halves) == seed


@given(SEEDS, st.data())
def test_what_the_library_splits_is_put_together(seed: bytes, data: st.DataObject) -> None:
    holders = data.draw(st.integers(2, 12))
    threshold = data.draw(st.integers(2, holders))
    halves = [Shamir.split(threshold, holders, seed[part : part + 16], ssss=False) for part in HALVES]
    shares = {one[0]: one[1] + other[1] for one, other in zip(*halves, strict=True)}
    chosen = data.draw(st.permutations(sorted(shares)))[:threshold]
    assert combined({holder: shares[holder] for holder in chosen}, threshold, seed) == seed


@pytest.mark.parametrize(("threshold", "holders"), [(34, 50), (172, 257), (683, 1024)])
def test_a_large_cohort_gives_its_seeds_back(threshold: int, holders: int) -> None:
    seeds = {name: secrets.token_bytes(32) for name in "abc"}
    shares = {name: split(seed, threshold, holders) for name, seed in seeds.items()}
    last = {place + 1: [shares[name][place] for name in "abc"] for place in range(holders - threshold, holders)}
    assert combine(last, threshold, {name: commitment(seed) for name, seed in seeds.items()}) == seeds


def test_a_large_cohort_gives_its_seed_to_the_library() -> None:
    seed = secrets.token_bytes(32)
    held = list(enumerate(split(seed, 34, 50), start=1))[16:]
    halves = [[(index, share[part : part + 16]) for index, share in held] for part in HALVES]
    assert b"".join(Shamir.combine(half, ssss=False) for half in halves) == seed


def test_fewer_shares_than_the_threshold_and_the_same_split_again_tell_nothing_of_the_seed() -> None:
    seed = bytes(32)
    one, other = split(seed, 3, 5), split(seed, 3, 5)
    assert len({*one, *other, seed}) == 11  # every share is as random as the coefficients
    for shares in (one, other):
        made_up = {1: shares[0], 2: shares[1], 6: bytes(32)}
        with pytest.raises(AggregateRefused):
            combined(made_up, 3, seed)


@pytest.mark.parametrize("byte", [0, 15, 16, 31])
def test_a_wrong_share_is_passed_over_while_enough_others_are_there(byte: int) -> None:
    seed = secrets.token_bytes(32)
    shares = dict(enumerate(split(seed, 3, 5), start=1))
    bent = bytearray(shares[1])
    bent[byte] ^= 1
    shares[1] = bytes(bent)
    assert combined(shares, 3, seed) == seed
    with pytest.raises(AggregateRefused, match="pod 'a' do not give back"):
        combined({index: shares[index] for index in (1, 2, 3)}, 3, seed)
    with pytest.raises(AggregateRefused, match="shares came of 2 pods, those of 3 are needed"):
        combined({index: shares[index] for index in (2, 3)}, 3, seed)


def test_a_wrong_share_of_one_pods_seed_leaves_the_others_as_they_are_and_is_named() -> None:
    seeds = {name: secrets.token_bytes(32) for name in "abc"}
    split_up = {name: split(seed, 3, 5) for name, seed in seeds.items()}
    shares = {place + 1: [split_up[name][place] for name in "abc"] for place in range(5)}
    shares[2][1] = shares[4][2] = bytes(32)
    commitments = {name: commitment(seed) for name, seed in seeds.items()}
    assert combine(shares, 3, commitments) == seeds
    with pytest.raises(AggregateRefused, match="pod 'b' do not give back"):
        combine({holder: shares[holder] for holder in (1, 2, 3)}, 3, commitments)


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_share_of_another_size_is_refused(size: int) -> None:
    seed = secrets.token_bytes(32)
    shares = dict(enumerate(split(seed, 3, 5), start=1))
    with pytest.raises(AggregateRefused, match="not 32 bytes long"):
        combined(shares | {2: bytes(size)}, 3, seed)
