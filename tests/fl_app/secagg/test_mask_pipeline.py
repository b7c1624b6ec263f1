import threading
from unittest import mock

import numpy as np
import pytest

from fl_app.secagg import mask_pipeline
from fl_app.secagg.field import FIELD_31, FIELD_61, Field, Words
from fl_app.secagg.keystream import BLOCK, MaskStream, expand
from fl_app.secagg.mask_pipeline import read_ahead, span_of, spans

fields = pytest.mark.parametrize("field", [FIELD_61, FIELD_31], ids=["61", "31"])
EACH = span_of(1 << 30) * BLOCK
LONG = 5 * EACH + 7


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "masks"]


@pytest.mark.parametrize("length", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, LONG - 7, LONG])
def test_spans_follow_each_other_to_the_end(length: int) -> None:
    pieces, each = spans(length), span_of(length) * BLOCK
    assert [at.start for _, at in pieces] == [block * BLOCK for block, _ in pieces] == list(range(0, length, each))
    assert [at.stop for _, at in pieces] == [*range(each, length, each), length]


@fields
@pytest.mark.parametrize(("length", "seeds", "processors", "ahead_of_use"), [
    (5, 2, 2, False), (BLOCK + 5, 130, 2, False), (LONG, 1, 2, False), (LONG, 10, 2, True), (33 * EACH, 1, 2, True),
    (LONG, 10, 1, False),
])  # fmt: skip
def test_every_stream_is_read_span_by_span(
    field: Field, length: int, seeds: int, processors: int, ahead_of_use: bool
) -> None:
    keys = [bytes([number]) * 32 for number in range(seeds)]
    wanted = [expand(key, field, length) for key in keys]
    with (
        mock.patch.object(mask_pipeline, "processors", return_value=processors),
        read_ahead([MaskStream(key, field) for key in keys], field, length) as words,
    ):
        assert bool(threads()) == ahead_of_use
        for _, at in spans(length):
            for mask in wanted:
                assert (next(words) == mask[at]).all()
        assert next(words, None) is None
    assert not threads()


def test_a_word_that_equals_q_is_drawn_again_when_read_ahead() -> None:
    class AllOnes(MaskStream):
        def write_words(self, block: int, out: Words, size: int) -> None:
            out[:size] = np.iinfo(out.dtype).max

    with read_ahead([AllOnes(bytes(32), FIELD_61)] * 10, FIELD_61, LONG) as words:
        first = next(words).copy()
    assert int(first.max()) < FIELD_61.prime
    assert len(np.unique(first)) == len(first)


def test_the_thread_ends_where_its_words_are_no_longer_wanted() -> None:
    with read_ahead([MaskStream(bytes(32), FIELD_61)] * 5, FIELD_61, 20 * EACH) as words:
        next(words)
        assert threads()
    assert not threads()


def test_an_error_of_the_cipher_is_raised_where_its_words_are_waited_for() -> None:
    class Broken(MaskStream):
        def write_words(self, block: int, out: Words, size: int) -> None:
            if block:
                raise MemoryError("no room")
            super().write_words(block, out, size)

    streams = [Broken(bytes(32), FIELD_61)] * 10
    with read_ahead(streams, FIELD_61, LONG) as words, pytest.raises(MemoryError, match="no room"):
        list(words)
    assert not threads()
