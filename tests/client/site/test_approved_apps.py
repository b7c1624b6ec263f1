"""Approved and refused versions, what changed between two, and the bundle of the version installed here."""

import io
import json
import os
import re
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from flwr.cli.build import build_fab_from_disk
from hypothesis import given
from hypothesis import strategies as st

from client.commands.group import pod
from client.site.app_diff import difference, files_of, visible
from client.site.approved_apps import MAX_BYTES, MAX_REFUSED, Apps, hash_of
from fl_app.errors import UsageError
from fl_app.host.bundle import build, write_app


def bundle(*members: tuple[str, bytes], project: bytes = b"x = 1\n") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in (("pyproject.toml", project), *members):
            archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


OLD = bundle(("a.py", b"one\ntwo\nthree\n"), ("gone.py", b"1\n"))
NEW = bundle(("a.py", b"one\nTWO\nthree\n"), ("new.py", b"1\n2\n"))


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")
def test_the_installed_bundle_is_what_flower_builds_from_it(tmp_path: Path) -> None:
    content = build()
    assert content == build_fab_from_disk(write_app(tmp_path))
    assert content == build()
    names = files_of(content)
    assert {"pyproject.toml", "client/app/main.py", "client/app/masked_app.py", "server/app/main.py"} <= names.keys()
    assert not [name for name in names if "test" in name or name.endswith(".csv.gz")]


def test_a_version_is_approved_by_its_bytes_until_it_is_revoked(tmp_path: Path) -> None:
    apps = Apps(tmp_path / "pod")
    assert not apps.approved(hash_of(OLD))
    assert apps.last() is None
    assert not (tmp_path / "pod").exists()
    apps.approve(OLD)
    assert apps.approved(hash_of(OLD))
    assert not apps.approved(hash_of(NEW))
    assert apps.last() == OLD
    kept = tmp_path / "pod" / "apps" / f"{hash_of(OLD)}.fab"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o077 == 0
    kept.write_bytes(NEW)
    assert not apps.approved(hash_of(OLD))
    assert apps.last() is None
    apps.revoke(hash_of(OLD))
    assert apps.names() == []
    with pytest.raises(UsageError, match="not an approved version"):
        apps.revoke(hash_of(OLD))


@pytest.mark.parametrize("name", ["", "..", "../../x", "A" * 64, "0" * 63])
def test_only_a_hash_names_a_version(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.fab").write_bytes(OLD)
    assert not Apps(tmp_path / "pod").approved(name)


def test_the_last_refused_versions_are_kept_and_no_large_ones(tmp_path: Path) -> None:
    apps = Apps(tmp_path)
    for number in range(MAX_REFUSED + 2):
        name = apps.refuse(b"version %d" % number)
        os.utime(tmp_path / "refused" / f"{name}.fab", (number, number))
    apps.refuse(bytes(MAX_BYTES + 1))
    kept = [hash_of(b"version %d" % number) for number in range(MAX_REFUSED + 1, 1, -1)]
    assert apps.refused() == kept
    assert apps.find_refused(kept[0][:10]) == b"version %d" % (MAX_REFUSED + 1)
    for wrong in ("", "zz", hash_of(b"version 0")):
        with pytest.raises(UsageError, match="not the hash of one refused version"):
            apps.find_refused(wrong)
    apps.approve(b"version 6")
    assert hash_of(b"version 6") not in apps.refused()


def test_a_difference_names_every_file_and_line_that_changed() -> None:
    changed, gone, new = difference(OLD, NEW)
    assert (changed.name, changed.kind, changed.added, changed.removed) == ("a.py", "changed", 1, 1)
    assert "-two" in changed.lines
    assert "+TWO" in changed.lines
    assert (gone.name, gone.kind, gone.removed) == ("gone.py", "gone", 1)
    assert (new.name, new.kind, new.added) == ("new.py", "new", 2)
    assert difference(OLD, OLD) == []
    assert [one.kind for one in difference(None, OLD)] == ["new"] * 3


def test_what_is_shown_of_a_bundle_cannot_steer_the_terminal() -> None:
    hostile = "x\x1b[2J\r\u202e\x9b\x00y"
    (one,) = difference(bundle(), bundle((f"{hostile}.py", f"{hostile}\n".encode())))
    shown = "\n".join([one.name, *one.lines])
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", shown)
    assert "\\x1b[2J" in shown
    (binary,) = difference(bundle(), bundle(("x.bin", b"\xff\xfe")))
    assert binary.lines == ("not text: 2 bytes",)


def test_code_in_another_encoding_is_shown() -> None:
    """One byte that is not UTF-8 must not turn a program into "not text"."""
    content = b"# coding: latin-1\nname = '\xe9'\nsteal()\n"
    (one,) = difference(bundle(), bundle(("x.py", content)))
    assert "+steal()" in one.lines
    assert "+name = '\\xe9'" in one.lines


def test_padding_hides_no_change() -> None:
    content = f"a = 1{' ' * 5000}; steal()\n" + "\n" * 4000 + "steal_more()\n"
    (one,) = difference(bundle(), bundle(("x.py", content.encode())))
    assert "+a = 1 [5,000 spaces] ; steal()" in one.lines
    assert "[the line above 3,996 times more]" in one.lines
    assert one.lines[-1] == "+steal_more()"
    assert len(one.lines) < 12
    assert one.added == 4002


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "members",
    [
        [("a.py", b"1"), ("a.py", b"2")],
        [("../a.py", b"1")],
        [("/a.py", b"1")],
        [("./a.py", b"1")],
        [("b//a.py", b"1")],
        [("b\\a.py", b"1")],
        [("a.py", bytes(5 << 20))],
    ],
)
def test_what_is_no_plain_bundle_is_not_shown(members: list[tuple[str, bytes]]) -> None:
    with pytest.raises(UsageError, match="not an app's bundle"):
        difference(OLD, bundle(*members))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04"])
def test_what_is_no_archive_is_not_shown(content: bytes) -> None:
    with pytest.raises(UsageError, match="not an app's bundle"):
        difference(OLD, content)


@given(st.binary(max_size=200), st.integers(0, len(OLD) - 1))
def test_a_damaged_bundle_raises_only_usage_errors(data: bytes, place: int) -> None:
    damaged = OLD[:place] + data + OLD[place + 1 :]
    try:
        difference(OLD, damaged)
    except UsageError as error:
        assert "not an app's bundle" in str(error)  # noqa: PT017


@given(st.text())
def test_what_is_visible_is_printable(text: str) -> None:
    assert all(char.isprintable() or char == "\t" for char in visible(text))


def command(home: Path, *arguments: str, said: str = "") -> Result:
    return CliRunner().invoke(pod, ["approve-app", "north", *arguments, "--home", str(home)], input=said)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "pods" / "north").mkdir(parents=True)
    return tmp_path


def test_the_command_asks_before_it_approves(home: Path) -> None:
    apps = Apps(home / "pods" / "north")
    assert command(home, said="n\n").exit_code != 0
    assert apps.names() == []
    done = command(home, said="y\n")
    assert done.exit_code == 0
    assert "client/app/main.py" in done.output
    assert apps.approved(hash_of(build()))
    assert "already" in command(home).output


def test_the_command_approves_a_refused_version_by_its_hash_after_showing_what_changed(home: Path) -> None:
    apps = Apps(home / "pods" / "north")
    apps.approve(OLD)
    name = apps.refuse(NEW)
    done = command(home, name[:12], "--yes")
    assert "+TWO" in done.output
    assert "changed  a.py  +1 -1" in done.output
    assert apps.approved(name)
    listed = json.loads(command(home, "--list", "--json").stdout)
    assert set(listed["approved"]) == {hash_of(OLD), name}
    assert listed["refused"] == []
    assert command(home, "--revoke", name[:12]).exit_code == 0
    assert not apps.approved(name)


def test_the_command_approves_a_bundle_in_a_file_and_prints_one_document(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "new.fab"
    file.write_bytes(NEW)
    Apps(home / "pods" / "north").approve(OLD)
    document = json.loads(command(home, str(file), "--yes", "--json").stdout)
    assert document["hash"] == hash_of(NEW)
    assert document["since"] == hash_of(OLD)
    assert [one["name"] for one in document["changes"]] == ["a.py", "gone.py", "new.py"]


def test_a_pod_without_a_home_is_a_usage_error(tmp_path: Path) -> None:
    assert isinstance(command(tmp_path).exception, UsageError)
