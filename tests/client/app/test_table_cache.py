"""What is known of a table without reading it: as true as reading it anew, and closed to others."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from client.app import pod_table as tables
from client.app import table_cache
from client.app.pod_table import PodTable
from client.app.table_cache import TableCache
from fl_app.errors import DataError
from fl_app.pod.definition import CSVSource, Pod, Policy
from fl_app.tabular.column_spec import ColumnSpec, ProposedColumn
from fl_app.tabular.schema import Schema
from tests.fl_app.tabular.tables import shop


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    shop().to_csv(tmp_path / "shop.csv", index=False)
    return Pod(name="shop", datasource=CSVSource(tmp_path / "shop.csv"))


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(table_cache, "_SETTLED_NS", 0)
    return tmp_path / "home" / "encoded"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list of the tables that have been read."""
    from fl_app.tabular import table_file

    read, read_table = list[Path](), table_file.read_table

    def counted(path: Path, *given: Any, **options: Any) -> Any:
        read.append(path)
        return read_table(path, *given, **options)

    monkeypatch.setattr(table_file, "read_table", counted)
    return read


def schema(pod: Pod, kept: Path | None = None, proposal: str = "") -> str:
    """Return what the pod publishes, as another process would."""
    tables._table.cache_clear()
    return PodTable.of(pod).schema(proposal, kept)


def rewrite(pod: Pod, frame: pd.DataFrame) -> None:
    frame.to_csv(pod.datasource.path, index=False)


def older(frame: pd.DataFrame) -> pd.DataFrame:
    """Return rows in which a number is past its old public bounds, so that the schema is another."""
    return frame.assign(age=frame["age"] + 1000)


def test_another_process_publishes_the_same_without_reading_the_table(pod: Pod, kept: Path, reads: list[Path]) -> None:
    plain = schema(pod)
    assert schema(pod, kept) == plain
    assert len(reads) == 2
    assert schema(pod, kept) == plain
    assert len(reads) == 2


def test_each_proposal_has_an_answer_of_its_own(pod: Pod, kept: Path, reads: list[Path]) -> None:
    proposal = ColumnSpec(columns={"age": ProposedColumn(bounds=(0.0, 150.0))}).to_json()
    for asked in ("", proposal, "", proposal):
        assert schema(pod, kept, asked) == schema(pod, None, asked)
    assert len(reads) == 4 + 2
    assert schema(pod, kept, proposal) != schema(pod, kept)


def replaced(pod: Pod) -> None:
    other = pod.datasource.path.with_name("other.csv")
    older(shop()).to_csv(other, index=False)
    other.replace(pod.datasource.path)


def rewritten(pod: Pod) -> None:
    rewrite(pod, older(shop()))


def rewritten_at_the_old_time(pod: Pod) -> None:
    """As a program does that restores a file's time of change, here in a file of the same size."""
    path = pod.datasource.path
    before, text = path.stat(), path.read_text()
    path.write_text(text.replace("Aachen", "Xachen"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def linked_elsewhere(pod: Pod) -> None:
    path = pod.datasource.path
    other = path.with_name("other.csv")
    older(shop()).to_csv(other, index=False)
    path.unlink()
    path.symlink_to(other)


@pytest.mark.parametrize("change", [replaced, rewritten, rewritten_at_the_old_time, linked_elsewhere])
def test_a_changed_table_is_noticed(pod: Pod, kept: Path, change: Callable[[Pod], None]) -> None:
    before = schema(pod, kept)
    change(pod)
    assert schema(pod, kept) == schema(pod) != before
    assert TableCache(kept, pod).digest() == TableCache(None, pod).digest()


def test_the_owners_terms_are_part_of_what_is_published(pod: Pod, kept: Path) -> None:
    schema(pod, kept)
    strict = pod.model_copy(update={"policy": Policy(minimum_category_count=10_000)})
    assert schema(strict, kept) == schema(strict) != schema(pod, kept)


def test_a_table_that_has_just_changed_is_read_again(
    pod: Pod, tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next change might have the same time."""
    kept = tmp_path / "encoded"
    schema(pod, kept)
    assert not kept.exists()
    later = table_cache.time.time_ns() + table_cache._SETTLED_NS + 1
    monkeypatch.setattr(table_cache.time, "time_ns", lambda: later)
    schema(pod, kept)
    schema(pod, kept)
    assert len(reads) == 2


def test_a_table_that_changes_while_it_is_read_is_not_remembered(
    pod: Pod, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = PodTable._described

    def change_meanwhile(table: PodTable, proposal: str) -> str:
        text = described(table, proposal)
        rewritten(pod)
        return text

    with monkeypatch.context() as patch:
        patch.setattr(PodTable, "_described", change_meanwhile)
        before = schema(pod, kept)
    assert schema(pod, kept) == schema(pod) != before


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff" * 100, b"cut", b"another"])
def test_a_damaged_file_is_made_anew(pod: Pod, kept: Path, reads: list[Path], damage: bytes) -> None:
    plain = schema(pod, kept)
    for file in kept.iterdir():
        content = file.read_bytes()
        file.write_bytes({b"cut": content[:-1], b"another": content.replace(b"1", b"2")}.get(damage, damage))
    assert schema(pod, kept) == plain
    assert len(reads) == 2
    assert schema(pod, kept) == plain
    assert len(reads) == 2


def test_only_the_owner_may_read_what_is_kept(pod: Pod, kept: Path) -> None:
    schema(pod, kept)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    assert sorted(stat.S_IMODE(file.stat().st_mode) for file in kept.iterdir()) == [0o600, 0o600]


def test_a_modeller_who_keeps_proposing_does_not_fill_the_disk(pod: Pod, kept: Path) -> None:
    for high in range(table_cache._MOST_PUBLISHED + 5):
        schema(pod, kept, ColumnSpec(columns={"age": ProposedColumn(bounds=(0.0, 200.0 + high))}).to_json())
    assert len(list(kept.iterdir())) == table_cache._MOST_PUBLISHED + 1


def test_a_disk_that_takes_nothing_keeps_nobody_from_answering(pod: Pod, kept: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert Schema.from_json(schema(pod, tmp_path / "file" / "encoded")).name == "shop"


def test_what_cannot_be_described_is_refused_again(pod: Pod, kept: Path) -> None:
    pod.datasource.path.write_text("a,b\n1\n")
    for _ in range(2):
        with pytest.raises(DataError):
            schema(pod, kept)
