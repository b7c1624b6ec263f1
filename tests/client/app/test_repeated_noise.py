"""A pod's noise is the same for the same sums, and has nothing to do with that for others."""

import numpy as np
import pytest

from client.app.repeated_noise import NoisedSums, noise_secret, repeatedly_noised
from fl_app.identity.key_file import Identity
from fl_app.tabular.label_counts import LABELS
from fl_app.tabular.schema import Column
from fl_app.tabular.statistics import HISTOGRAM, MOMENTS, NOISE_TAIL, Statistics

AGE = Column(name="age", kind="continuous", low=0, high=120, integer=True)
GAIN = Column(name="gain", kind="continuous", low=0, high=2048)
TARGET = Column(name="income", kind="categorical", values=("high", "low"))
SECRET = bytes(range(32))


def noise(
    *columns: Column, rows: int = 0, labels: int = 0, target: Column = TARGET, secret: bytes = SECRET
) -> NoisedSums:
    """Return the noise alone in the sums of so many rows, all in the first cells of their columns."""
    sums = Statistics.zeros(columns)
    moments, histogram = sums.moments + rows, sums.histogram.copy()
    at = 0
    for levels in sums.levels(columns):
        for level in levels:
            histogram[at] = rows
            at += len(level)
    counts = np.full(4, labels)
    given = repeatedly_noised(Statistics(moments, histogram), columns, counts, target, 3, secret)
    return {
        MOMENTS: given[MOMENTS] - rows,
        HISTOGRAM: given[HISTOGRAM] - histogram - NOISE_TAIL,
        LABELS: given[LABELS] - labels - NOISE_TAIL,
    }


def test_the_same_sums_have_the_same_noise_whatever_else_is_asked() -> None:
    alone, beside = noise(GAIN), noise(AGE, GAIN, labels=7)
    size = len(alone[HISTOGRAM])
    assert (beside[HISTOGRAM][-size:] == alone[HISTOGRAM]).all()
    assert (beside[MOMENTS][-3:] == alone[MOMENTS]).all()
    assert (noise(AGE)[LABELS] == alone[LABELS]).all()
    assert alone[HISTOGRAM].any()


@pytest.mark.parametrize(
    "other",
    [
        {"rows": 1},
        {"secret": bytes(32)},
        {"columns": (GAIN.model_copy(update={"name": "loss"}),)},
        {"columns": (GAIN.model_copy(update={"high": 2049.0}),)},
    ],
)
def test_other_sums_have_other_noise(other: dict) -> None:  # type: ignore[type-arg]
    given = {"columns": (GAIN,), **other}
    one, another = noise(GAIN)[HISTOGRAM], noise(*given.pop("columns"), **given)[HISTOGRAM]
    assert (one[: len(another)] != another[: len(one)]).mean() > 0.5


def test_other_labels_have_other_noise() -> None:
    one = noise(GAIN)[LABELS]
    assert (noise(GAIN, labels=1)[LABELS] != one).any()
    assert (noise(GAIN, target=TARGET.model_copy(update={"name": "sex"}))[LABELS] != one).any()


def test_the_secret_is_the_pods_own() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    keys = [Identity(Ed25519PrivateKey.from_private_bytes(bytes([n] * 32))) for n in (1, 2)]
    secrets = {noise_secret(key, name) for key in keys for name in ("north", "south")}
    assert len(secrets) == 4
    assert noise_secret(keys[0], "north") in secrets
