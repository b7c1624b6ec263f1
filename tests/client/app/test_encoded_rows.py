import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from client.app import pod_table as tables
from client.app.encoded_rows import EncodedRows
from client.app.pod_table import PARTS, PodTable
from fl_app.pod.definition import CSVSource, Pod
from fl_app.tabular.encoding import Encoded, Encoding
from tests.fl_app.tabular.tables import encoding_of, shop


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    shop().to_csv(tmp_path / "shop.csv", index=False)
    return Pod(name="shop", datasource=CSVSource(tmp_path / "shop.csv"))


@pytest.fixture
def encoding() -> Encoding:
    return encoding_of(shop())


def fresh(pod: Pod) -> PodTable:
    """Return the table as another process would see it."""
    tables._table.cache_clear()
    return PodTable.of(pod)


def same(one: Encoded, other: Encoded) -> bool:
    return one.dropped == other.dropped and all(
        np.array_equal(getattr(one, name), getattr(other, name))
        and getattr(one, name).dtype == getattr(other, name).dtype
        for name in ("numbers", "bins", "codes", "labels")
    )


def test_another_process_finds_the_rows_and_does_not_read_the_table(
    pod: Pod, encoding: Encoding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "home" / "encoded"
    made = {part: fresh(pod).encoded(part, encoding, kept) for part in PARTS}
    plain = {part: fresh(pod).encoded(part, encoding) for part in PARTS}
    monkeypatch.setattr("fl_app.tabular.table_file.read_table", lambda *_, **__: pytest.fail("read again"))
    for part in PARTS:
        found = fresh(pod).encoded(part, encoding, kept)
        assert same(found, made[part])
        assert same(found, plain[part])


def test_only_the_owner_may_read_what_is_kept(pod: Pod, encoding: Encoding, tmp_path: Path) -> None:
    kept = tmp_path / "encoded"
    fresh(pod).encoded("train", encoding, kept)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    assert [stat.S_IMODE(file.stat().st_mode) for file in kept.iterdir()] == [0o600]


def test_what_follows_from_another_table_definition_or_encoding_is_not_used_and_goes(
    pod: Pod, encoding: Encoding, tmp_path: Path
) -> None:
    kept = tmp_path / "encoded"
    fresh(pod).encoded("train", encoding, kept)
    fresh(pod).encoded("test", encoding, kept)
    assert len(list(kept.iterdir())) == 2
    frame = shop()
    frame.loc[:, "age"] += 1
    frame.to_csv(pod.datasource.path, index=False)
    changed = fresh(pod).encoded("train", encoding, kept)
    assert same(changed, fresh(pod).encoded("train", encoding))
    assert len(list(kept.iterdir())) == 1
    before = set(kept.iterdir())
    fresh(pod.model_copy(update={"name": "other"})).encoded("train", encoding, kept)  # another split of the rows
    assert not before & set(kept.iterdir())
    before = set(kept.iterdir())
    fresh(pod).encoded("train", encoding_of(pd.concat([shop(), shop(seed=1)])), kept)
    assert not before & set(kept.iterdir())


@pytest.mark.parametrize("damage", [b"", b"no archive", b"PK\x03\x04"])
def test_a_damaged_file_is_made_anew(pod: Pod, encoding: Encoding, tmp_path: Path, damage: bytes) -> None:
    kept = tmp_path / "encoded"
    rows = fresh(pod).encoded("train", encoding, kept)
    (file,) = kept.iterdir()
    file.write_bytes(damage)
    assert same(fresh(pod).encoded("train", encoding, kept), rows)
    found = EncodedRows(kept, pod, encoding).load("train")
    assert found is not None
    assert same(found, rows)


def test_a_disk_that_takes_nothing_keeps_nobody_from_training(pod: Pod, encoding: Encoding, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    rows = fresh(pod).encoded("train", encoding, tmp_path / "file" / "encoded")
    assert len(rows) > 0
