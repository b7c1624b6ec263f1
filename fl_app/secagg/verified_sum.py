"""A sum that a server shows, checked by a pod that has answered the step; see `tags` for what the check is worth."""

from dataclasses import dataclass, field
from typing import Never

import numpy as np

from fl_app.secagg.codec import Aggregate, Decoder, Layout
from fl_app.secagg.errors import AggregateRefused, SumRefused
from fl_app.secagg.field import Words, field_of
from fl_app.secagg.keystream import BLOCK, aligned
from fl_app.secagg.mask_pipeline import span_of, spans
from fl_app.secagg.messages import ElementClass, Proof, Record
from fl_app.secagg.tags import LinearForm, pads, tag_elements

_UINT64 = np.dtype(np.uint64)


@dataclass(frozen=True)
class Pending(Record):
    """What a pod keeps of a step that it has answered, to check its sum later and without the session.

    Attributes
    ----------
    label : bytes
        The step's label.
    key : bytes
        Key of the step's tags; secret, 32 bytes.
    prime_q, max_weight : int
        Order of the step's field, and the largest weight a pod may have.
    classes, sizes : tuple of ElementClass, tuple of int
        The segments of the step's vectors.
    kind, round : str, int
        Which step it was.
    names : tuple of str
        The roster's pods, in its order.
    threshold : int
        Fewest vectors in the sum.
    """

    label: bytes
    key: bytes = field(repr=False)
    prime_q: int
    max_weight: int
    classes: tuple[ElementClass, ...]
    sizes: tuple[int, ...]
    kind: str
    round: int
    names: tuple[str, ...]
    threshold: int


def check_sum(pending: Pending, proof: Proof, words: Words) -> Aggregate:
    """Return the decoded sum of a step if it is that of pods of the cohort, and nobody else's.

    Beside ``words`` it makes one vector, in which the values lie.

    Parameters
    ----------
    pending : Pending
        What the pod has kept of the step.
    proof : Proof
        Whose sum the server says it is.
    words : array
        All elements of the sum, `Collection.proof` has them: little-endian uint64 (uint32 in the small field) [length].

    Raises
    ------
    SumRefused
        If the proof is another step's, the survivors could not be those of this session, a word is no element of the
        field, the tag is not theirs, or the sum could not be decoded.
    """
    # 1. The step that this pod has answered, in this session: its keys are good for no other.
    if proof.label != pending.label:
        _refuse(pending, "it is another step's")
    # 2. Pods of the roster, in its order; as many as a sum needs, and never one alone.
    survivors = set(proof.survivors)
    if proof.survivors != tuple(name for name in pending.names if name in survivors):
        _refuse(pending, "its survivors are not pods of the roster, each once and in its order")
    if len(survivors) < max(pending.threshold, 2):
        _refuse(pending, f"it is of {len(survivors)} pods and must be of {max(pending.threshold, 2)}")
    # 3. The vector's form. One sum has one form, so a word must be below q.
    chosen = field_of(pending.prime_q)
    segments = [element.segment(size) for element, size in zip(pending.classes, pending.sizes, strict=True)]
    layout = Layout(chosen, len(pending.names), pending.max_weight, segments, tag_elements(chosen))
    if words.dtype != chosen.dtype or words.shape != (layout.length,):
        _refuse(pending, "its vector has another length or type than the step's")
    form, decoder = LinearForm(layout, pending.key), Decoder(layout, len(survivors))
    scratch, moved = (aligned(span_of(layout.length) * BLOCK, _UINT64) for _ in range(2))
    for block, at in spans(layout.length):
        part = words[at]
        if int(np.maximum.reduce(part)) >= chosen.prime:
            _refuse(pending, "a word of its vector is no element of the field")
        centred = chosen.centre(part, scratch[: len(part)], moved[: len(part)])
        # 4. Roll calls and capacities; the second also keep what the tag is computed of in the range that it has.
        try:
            decoder.read(block, centred)
        except AggregateRefused as error:
            _refuse(pending, str(error), error)
        for place in layout.tag_places:
            if at.start <= place < at.stop:
                centred[place - at.start] = 0
        form.read(block, centred)
    # 5. The tag: nothing of the sum has been used before.
    tag = [int(words[place]) for place in layout.tag_places]
    summed = zip(form.value(), pads(chosen, pending.key, proof.survivors), strict=True)
    if tag != [(value + pad) % chosen.prime for value, pad in summed]:
        _refuse(pending, "its tag is not that of the cohort's vectors")
    try:
        return decoder.aggregate()
    except AggregateRefused as error:
        _refuse(pending, str(error), error)


def _refuse(pending: Pending, why: str, cause: Exception | None = None) -> Never:
    raise SumRefused(
        f"the server's proof of the sum of step '{pending.kind}' round {pending.round} does not hold: {why}"
    ) from cause
