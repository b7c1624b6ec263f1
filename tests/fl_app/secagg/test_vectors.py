"""The committed test vectors: read as another implementation would, and compared with what the command writes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_app.secagg import canonical, errors, keystream, messages
from fl_app.secagg.binding import PAIR_KEY, PAIR_SEED, label, own_key, self_share_key
from fl_app.secagg.codec import Encoder, Layout, Segment, decode
from fl_app.secagg.crypto import statement, unbox, unseal
from fl_app.secagg.field import field_of
from fl_app.secagg.keystream import BLOCK, MaskStream, by_ctr, by_gcm, derive, expand, word_buffer
from fl_app.secagg.masking import mask
from fl_app.secagg.roster import CohortPolicy, Roster, check_roster
from fl_app.secagg.verified_sum import Pending, check_sum
from scripts import make_vectors
from tests.fl_app.secagg.test_canonical import exact
from tests.fl_app.secagg.test_keystream import FixedStreams

VECTORS = Path(__file__).parents[2] / "vectors"


def load(kind: str) -> Any:
    return json.loads((VECTORS / f"{kind}.json").read_text())


def each(kind: str, part: str) -> pytest.MarkDecorator:
    vectors = load(kind)[part]
    assert vectors
    return pytest.mark.parametrize("vector", vectors, ids=[v.get("what", str(i)) for i, v in enumerate(vectors)])


@contextmanager
def refused(vector: Any) -> Iterator[None]:
    """Expect exactly the error that a bad vector names."""
    with pytest.raises(getattr(errors, vector["error"])) as raised:
        yield
    assert type(raised.value).__name__ == vector["error"]


def value_of(tagged: Any) -> Any:
    match tagged:
        case {"int": text}:
            return int(text)
        case {"float": text}:
            return float.fromhex(text)
        case {"bytes": text}:
            return bytes.fromhex(text)
        case {"dict": items}:
            return {key: value_of(item) for key, item in items.items()}
        case list():
            return [value_of(item) for item in tagged]
    return tagged


def test_the_command_writes_the_committed_files_and_no_others() -> None:
    committed = {path.name: path.read_text() for path in VECTORS.iterdir()}
    assert make_vectors.files() == committed, "run scripts/make_vectors.py, and look at what has changed"


# --- canonical bytes and messages


@each("canonical", "good")
def test_canonical_bytes_both_ways(vector: Any) -> None:
    raw, value = bytes.fromhex(vector["bytes"]), value_of(vector["value"])
    assert canonical.encode(value) == raw
    assert exact(canonical.decode(raw)) == exact(value)


@each("canonical", "bad")
def test_bytes_that_are_not_canonical(vector: Any) -> None:
    with refused(vector):
        canonical.decode(bytes.fromhex(vector["bytes"]))


@each("messages", "good")
def test_messages_both_ways(vector: Any) -> None:
    raw = bytes.fromhex(vector["bytes"])
    result = getattr(messages, vector["message"]).from_bytes(raw)
    assert result.to_bytes() == raw
    assert canonical.encode([vector["message"], 1, value_of(vector["fields"])]) == raw
    if isinstance(result, messages.Parameters):
        assert result.digest().hex() == load("messages")["parameters_digest"]


@each("messages", "bad")
def test_bytes_that_are_no_message(vector: Any) -> None:
    with refused(vector):
        getattr(messages, vector["message"]).from_bytes(bytes.fromhex(vector["bytes"]))


# --- masks


@each("expander", "good")
def test_mask_elements(vector: Any) -> None:
    field = field_of(int(vector["prime_q"]))
    stream, block, at = MaskStream(bytes.fromhex(vector["seed"]), field), *divmod(vector["start"], BLOCK)
    result = stream.read(block, word_buffer(field))[at:].tolist()
    result += stream.read(block + 1, word_buffer(field)).tolist()
    assert [str(word) for word in result[: len(vector["elements"])]] == vector["elements"]


@each("expander", "injected")
def test_mask_elements_with_an_injected_redraw(vector: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    field = field_of(int(vector["prime_q"]))
    streams = [np.frombuffer(bytes.fromhex(raw), field.dtype).tolist() for raw in vector["streams"]]
    monkeypatch.setattr(keystream, "keystream", FixedStreams(field, *streams))
    result = MaskStream(bytes(32), field).read(0, word_buffer(field), len(vector["elements"]))
    assert [str(word) for word in result.tolist()] == vector["elements"]


@each("expander", "bad")
def test_fields_there_are_not(vector: Any) -> None:
    with refused(vector):
        field_of(int(vector["prime_q"]))


@each("keys", "derive")
def test_key_derivation(vector: Any) -> None:
    salt = None if vector["salt"] is None else bytes.fromhex(vector["salt"])
    result = derive(bytes.fromhex(vector["secret"]), vector["purpose"], *value_of(vector["context"]), salt=salt)
    assert result.hex() == vector["key"]


def test_from_a_pair_key_to_a_share_in_its_box() -> None:
    pair = {name: bytes.fromhex(text) if name not in ("first", "second", "mask") else text
            for name, text in load("keys")["pair"].items()}  # fmt: skip
    key = self_share_key(pair["pair_key"], pair["label"], pair["first"], pair["second"])
    assert (key, unbox(pair["box"], key, "a")) == (pair["box_key_from_first_to_second"], pair["in_box"])
    other_way = self_share_key(pair["pair_key"], pair["label"], pair["second"], pair["first"])
    with pytest.raises(errors.ShareRefused):
        unbox(pair["box"], other_way, "a")
    roster = Roster((), pair["roster"])
    assert own_key(roster, pair["sealing_secret_of_first"]) == pair["own_key_of_first"]


def test_from_two_shares_to_a_mask() -> None:
    pair = load("keys")["pair"]
    both = bytes.fromhex(pair["share_of_first"] + pair["share_of_second"])
    key = derive(both, PAIR_KEY, pair["first"], pair["second"], salt=bytes.fromhex(pair["roster"]))
    seed = derive(key, PAIR_SEED, bytes.fromhex(pair["label"]))
    assert (key.hex(), seed.hex()) == (pair["pair_key"], pair["pair_seed"])
    for way in (by_ctr, by_gcm):
        out = bytearray(32)
        way(derive(seed, "fl-app/secagg/1/mask-stream", 0))(0, 16, memoryview(out))
        assert out[:16].hex() == pair["first_bytes_of_stream_0"]
    assert [str(word) for word in expand(seed, field_of(2**61 - 1), 4).tolist()] == pair["mask"]


# --- codec


def layout_of(vector: Any) -> Layout:
    segments = [Segment(**segment) for segment in vector["segments"]]
    return Layout(field_of(int(vector["prime_q"])), vector["pods"], vector["max_weight"], segments)


def encoder_of(vector: Any, layout: Layout) -> Encoder:
    values = {
        name: np.array([float(v) if isinstance(v, str) else v for v in row]) for name, row in vector["values"].items()
    }
    return Encoder(layout, vector["weight"], values)


def encoded(vector: Any) -> list[int]:
    layout = layout_of(vector)
    out = np.empty(layout.length, np.int64)
    encoder_of(vector, layout).write(0, out)
    return out.tolist()


@each("codec", "good")
def test_encodings(vector: Any) -> None:
    assert {name: scale.hex() for name, scale in layout_of(vector).scales.items()} == vector["scales"]
    assert encoded(vector) == vector["encoded"]


@each("codec", "bad")
def test_what_is_not_encoded(vector: Any) -> None:
    with refused(vector):
        encoded(vector)


def test_a_sum_decodes() -> None:
    vector = load("codec")["sum"]
    result = decode(layout_of(vector), np.array(vector["total"], np.int64))
    values = {name: [float.fromhex(v) if isinstance(v, str) else v for v in row]
              for name, row in vector["values"].items()}  # fmt: skip
    assert (result.weight, result.clipped) == (vector["weight"], vector["clipped"])
    assert {name: array.tolist() for name, array in result.values.items()} == values


@each("codec", "bad_sums")
def test_sums_that_are_refused(vector: Any) -> None:
    layout = layout_of(load("codec")["sum"])
    with refused(vector):
        decode(layout, np.array(vector["total"], np.int64))


@each("masking", "good")
def test_masked_vectors(vector: Any) -> None:
    layout = layout_of(vector)
    add, subtract = ([bytes.fromhex(seed) for seed in vector[what]] for what in ("add", "subtract"))
    result = mask(layout, encoder_of(vector, layout), add, subtract)
    assert [str(word) for word in result.tolist()] == vector["masked"]


# --- statements, labels, rosters


@each("statements", "statements")
def test_what_signatures_cover(vector: Any) -> None:
    scope, content = bytes.fromhex(vector["scope"]), bytes.fromhex(vector["content"])
    result = statement(vector["purpose"], scope, vector["sender"], vector["receiver"], content)
    assert result.hex() == vector["statement"]


@each("statements", "digests")
def test_digests(vector: Any) -> None:
    assert canonical.digest(vector["purpose"], *value_of(vector["parts"])).hex() == vector["digest"]


@each("statements", "labels")
def test_labels(vector: Any) -> None:
    roster = Roster.of([hello_of(raw) for raw in load("statements")["roster"]])
    step = messages.Step.from_bytes(bytes.fromhex(vector["step"]))
    assert label(roster, step, bytes.fromhex(vector["request"])).hex() == vector["label"]


def hello_of(raw: str) -> messages.Hello:
    return messages.Hello.from_bytes(bytes.fromhex(raw))


def checked(names: list[str], policy: dict[str, Any]) -> Roster:
    whole = load("roster")
    hellos = [hello_of(whole["hellos"][name]) for name in names]
    approved = {name: bytes.fromhex(key) for name, key in policy["approved"].items()}
    terms = CohortPolicy(**{**policy, "approved": approved})
    return check_roster(hellos, hello_of(whole["hellos"][whole["own"]]), whole["requested"], whole["threshold"], terms)


def test_a_good_roster_and_its_digest() -> None:
    whole = load("roster")
    result = checked(whole["good"]["hellos"], whole["policy"])
    assert (list(result.names), result.digest.hex()) == (whole["good"]["names"], whole["good"]["digest"])


@each("roster", "bad")
def test_rosters_that_are_refused(vector: Any) -> None:
    with refused(vector):
        checked(vector["hellos"], vector["policy"])


# --- verified sums


def test_from_group_shares_to_a_tag_key() -> None:
    keys = load("tags")["keys"]
    session, roster, step = (bytes.fromhex(keys[what]) for what in ("session", "roster", "step"))
    for name, share in keys["shares"].items():
        parts = [session, name, bytes.fromhex(share)]
        assert canonical.digest("fl-app/secagg/1/group-commitment", *parts).hex() == keys["commitments"][name]
    shares = b"".join(bytes.fromhex(keys["shares"][name]) for name in keys["names"])
    group = derive(shares, "fl-app/secagg/1/group-key", salt=roster)
    bound = canonical.digest(
        "fl-app/secagg/1/label", roster, step, bytes.fromhex(keys["request"]), bytes.fromhex(keys["followed"])
    )
    assert (group.hex(), bound.hex()) == (keys["group_key"], keys["label"])
    assert derive(group, "fl-app/secagg/1/tag-key", bound).hex() == keys["tag_key"]


def first_coefficients() -> list[list[int]]:
    """Return the four first-level vectors, as another implementation would make them."""
    key = derive(bytes.fromhex(load("tags")["keys"]["tag_key"]), "fl-app/secagg/1/tag-first")
    raw = bytearray(4 * 4096 * 2 + 16)
    by_gcm(derive(key, "fl-app/secagg/1/mask-stream", 0))(0, 4 * 4096 * 2, memoryview(raw))
    whole = [int.from_bytes(raw[at : at + 2], "little", signed=True) for at in range(0, 4 * 4096 * 2, 2)]
    return [whole[number * 4096 : (number + 1) * 4096] for number in range(4)]


def test_coefficients_of_the_first_level() -> None:
    assert [row[:8] for row in first_coefficients()] == load("tags")["first_coefficients"]


@each("tags", "fields")
def test_coefficients_of_the_second_level_and_pads(vector: Any) -> None:
    field, key = field_of(int(vector["prime_q"])), bytes.fromhex(load("tags")["keys"]["tag_key"])
    second = expand(derive(key, "fl-app/secagg/1/tag-second"), field, 8).tolist()
    assert [str(c) for c in second] == vector["second_coefficients"]
    for name, pad in vector["pads"].items():
        mine = expand(derive(key, "fl-app/secagg/1/tag-pad", name), field, vector["elements_of_a_tag"]).tolist()
        assert [str(p) for p in mine] == pad


@each("tags", "forms")
def test_forms_of_vectors(vector: Any) -> None:
    field, key = field_of(int(vector["prime_q"])), bytes.fromhex(load("tags")["keys"]["tag_key"])
    first, rows, elements = first_coefficients(), -(-vector["length"] // 4096), len(vector["form"])
    second = expand(derive(key, "fl-app/secagg/1/tag-second"), field, elements * rows * 4).tolist()
    form = [0] * elements
    for place, element in vector["elements"].items():
        row, column = divmod(int(place), 4096)
        for part in range(elements):
            numbers = second[(part * rows + row) * 4 : (part * rows + row + 1) * 4]
            form[part] += sum(c * r[column] * int(element) for c, r in zip(numbers, first, strict=True))
    assert [str(value % field.prime) for value in form] == vector["form"]


@each("tags", "sums")
def test_sums_that_a_pod_takes_or_refuses(vector: Any) -> None:
    field, pending = field_of(int(vector["prime_q"])), Pending.from_bytes(bytes.fromhex(vector["pending"]))

    def checked_sum(shown: Any) -> Any:
        proof = messages.Proof.from_bytes(bytes.fromhex(shown["proof"]))
        return check_sum(pending, proof, np.array([int(word) for word in shown["words"]], field.dtype))

    result = checked_sum(vector)
    values = {name: [float.fromhex(v) if isinstance(v, str) else v for v in row]
              for name, row in vector["values"].items()}  # fmt: skip
    assert (result.weight, result.clipped) == (vector["weight"], vector["clipped"])
    assert {name: array.tolist() for name, array in result.values.items()} == values
    for bad in vector["bad"]:
        with refused(bad):
            checked_sum(bad)


# --- HPKE, opening


@each("hpke", "good")
def test_what_opens(vector: Any) -> None:
    sealed, key, info = (bytes.fromhex(vector[what]) for what in ("sealed", "private_key", "info"))
    assert unseal(sealed, key, info, "a").hex() == vector["opened"]


@each("hpke", "bad")
def test_what_does_not_open(vector: Any) -> None:
    sealed, key, info = (bytes.fromhex(vector[what]) for what in ("sealed", "private_key", "info"))
    with refused(vector):
        unseal(sealed, key, info, "a")
