"""The same noise for the same sums, however often they are asked for: noise that is drawn anew averages out.

With fresh noise 50 runs, a quarter of what an owner allows in a day by default, tell most cells of one row from empty
ones. So a pod draws a column's noise from a stream that follows from a secret of its own, the column's grid and the
sums themselves: asked in another run, for another target, beside other columns, it is the same. If a row changes,
all of it is new.
"""

from collections.abc import Sequence

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

from client.app.noised_sums import noised, share_of_noise
from fl_app.secagg.crypto import Signer, statement
from fl_app.secagg.keystream import derive
from fl_app.secagg.noise import RandomBytes
from fl_app.tabular.label_counts import LABELS
from fl_app.tabular.schema import Column
from fl_app.tabular.statistics import HISTOGRAM, MOMENTS, Statistics, grid

_NOTHING = np.zeros(0, dtype=np.int64)
_SECRET, _STREAM = "fl-app/noise/1/secret", "fl-app/noise/1/stream"
NoisedSums = dict[str, NDArray[np.int64]]


def noise_secret(signer: Signer, pod: str) -> bytes:
    """Return the secret of a pod's noise, 32 bytes: it follows from its identity key, and from nothing else has."""
    # Ed25519 signatures are deterministic, and a pod signs nothing else under this purpose.
    return derive(signer.sign(statement(_SECRET, b"", pod, "", b"")), _SECRET)


def repeatedly_noised(
    statistics: Statistics,
    columns: Sequence[Column],
    labels: NDArray[np.int64],
    target: Column,
    minimum_cohort: int,
    secret: bytes,
) -> NoisedSums:
    """Return what `noised` returns, with the noise that each column's sums have always had.

    Parameters
    ----------
    target : Column
        The column whose labels are counted.
    secret : bytes
        The pod's, see `noise_secret`.
    """
    parts = [
        number_sums(statistics, columns, minimum_cohort, secret),
        label_sums(labels, target, minimum_cohort, secret),
    ]
    return joined(parts)


def number_sums(statistics: Statistics, columns: Sequence[Column], minimum_cohort: int, secret: bytes) -> NoisedSums:
    """Return the statistics of numbers with the noise that each column's have always had."""
    parts: list[NoisedSums] = [{MOMENTS: _NOTHING, HISTOGRAM: _NOTHING}]
    for row, (column, levels) in enumerate(zip(columns, statistics.levels(columns), strict=True)):
        own = Statistics(statistics.moments[row : row + 1], np.concatenate(levels))
        about = (column.name, grid(column).tobytes(), own.moments.tobytes(), own.histogram.tobytes())
        parts.append(noised(own, (column,), _NOTHING, minimum_cohort, _stream(secret, MOMENTS, *about)))
    return {name: sums for name, sums in joined(parts).items() if name != LABELS}


def label_sums(labels: NDArray[np.int64], target: Column, minimum_cohort: int, secret: bytes) -> NoisedSums:
    """Return rows by label with the noise that they have always had."""
    told = (target.name, "\n".join(target.values).encode(), labels.tobytes())
    parts = noised(Statistics.zeros(()), (), labels, minimum_cohort, _stream(secret, LABELS, *told))
    return {LABELS: parts[LABELS]}


def count_sums(
    counts: NDArray[np.int64], variance: int, minimum_cohort: int, secret: bytes, *about: str | bytes
) -> NDArray[np.int64]:
    """Return counts with the noise that those of this kind have always had, which may put them below zero.

    Parameters
    ----------
    variance : int
        Of the noise that hides a row in the sum, see `noised`.
    about : str or bytes
        What is counted.
    """
    stream = _stream(secret, *about, str(variance), counts.tobytes())
    return counts + share_of_noise(variance, counts.size, minimum_cohort, stream).reshape(counts.shape)


def repeated_order(rows: int, secret: bytes, *about: str | bytes) -> NDArray[np.int64]:
    """Return an order of rows, int64 [rows], each as likely as another, and always the same of what it is about."""
    return np.argsort(np.frombuffer(_stream(secret, *about)(8 * rows), "<u8"), kind="stable")


def joined(parts: Sequence[NoisedSums]) -> NoisedSums:
    """Join the sums of several columns, in their order, by name."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: np.concatenate([part[name].ravel() for part in parts if name in part]) for name in names}


def _stream(secret: bytes, *about: str | bytes) -> RandomBytes:
    cipher = Cipher(AES256(derive(secret, _STREAM, *about)), CTR(bytes(16))).encryptor()
    return lambda size: cipher.update(bytes(size))
