"""Files and modules that a page names are there."""

import re
import subprocess
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from tests.house.source import PACKAGES
from tests.pages.blocks import ROOT, blocks_of, pages

FOLDERS = (*PACKAGES, "tests", "benchmarks", "docs", "scripts", "examples", "notebooks", "deploy", ".github")
PATH = re.compile(rf"(?<![\w/.-])(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./@-]*[\w/]")
FILE = re.compile(r"`([\w.-]+\.py)`")
MODULE = re.compile(rf"(?<![\w./-])(?:{'|'.join(PACKAGES)})(?:\.[A-Za-z_]\w*)+(?!\w*/)")
PAST = {
    "CHANGELOG.md": {"fl_app.exports", "client.masked", "client.owner"},
    "docs/own-network.md": {"fl_app/tabular/own_network.py"},
}
"""What a page names that is no longer there, or in the bundles of some runs only."""


@cache
def tracked() -> frozenset[str]:
    """Return the names, without folders, of all files of the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return frozenset(Path(name).name for name in listed.stdout.splitlines())


def missing(page: str, text: str) -> list[str]:
    """Return the paths, file names and dotted names in the text of a page that stand for nothing."""
    paths = {path for path in PATH.findall(text) if not (ROOT / path).exists()}
    files = {name for name in FILE.findall(text) if name not in tracked()}
    names = {name for name in MODULE.findall(prose(page, text)) if not exists(name)}
    return sorted((paths | files | names) - PAST.get(page, set()))


def exists(name: str) -> bool:
    """Say whether a dotted name is a module, or something in one."""
    module, rest = name, list[str]()
    while module:
        try:
            thing = import_module(module)
        except ImportError:
            module, _, last = module.rpartition(".")
            rest.insert(0, last)
            continue
        for part in rest:
            if not hasattr(thing, part):
                return False
            thing = getattr(thing, part)
        return True
    return False


@pytest.mark.parametrize("page", [page for page in pages() if page != "ARCHITECTURE.md"])
def test_what_a_page_names_is_there(page: str) -> None:
    assert missing(page, (ROOT / page).read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("text", "absent"),
    [
        ("see `fl_app/secagg/no_such_file.py`", ["fl_app/secagg/no_such_file.py"]),
        ("in `fl_app/doors/` too", ["fl_app/doors/"]),
        ("`no_such_file.py` says", ["no_such_file.py"]),
        ("`client.no_such_name` and `server.app.nowhere.f`", ["client.no_such_name", "server.app.nowhere.f"]),
        ("`fl_app/cli.py`, `roster.py`, `client.MaskedApp`, `fl_app.__all__`, `deploy/systemd/`", []),
    ],
)
def test_the_test_sees_what_is_missing(text: str, absent: list[str]) -> None:
    assert missing("page.md", text) == absent


def test_links_between_the_repository_s_own_pages_lead_somewhere() -> None:
    """`make docs` checks those of docs/ too; README and the like are not on the site."""
    for page in pages():
        for target in re.findall(r"\]\(([^)#\s:]+)(?:#[\w-]+)?\)", prose(page, (ROOT / page).read_text("utf-8"))):
            on_the_site = page == "docs/index.md" and (ROOT / "notebooks" / target).exists()
            assert on_the_site or (ROOT / page).parent.joinpath(target).exists(), (page, target)


def prose(page: str, text: str) -> str:
    """Return the text of a page without its blocks of code, in which `server` may be a variable."""
    for block in blocks_of(page, text):
        text = text.replace(block.text, "")
    return text
