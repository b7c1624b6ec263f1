"""Every block of every page says what it is, and those that nobody runs are listed here."""

from collections import Counter
from pathlib import Path

import pytest

from tests.pages.blocks import ROOT, WORDS, Block, blocks_of, pages

BLOCKS = [block for page in pages() for block in blocks_of(page)]
RUN = {"sh", "python", "toml", "yaml"}
SHOWN = {"text"}
DEPLOYMENT = "docs/deployment.md"

NOT_RUN: dict[tuple[str, str], int] = {
    (DEPLOYMENT, "systemd"): 1,
    (DEPLOYMENT, "containers"): 1,
}
"""How many blocks of a page nobody runs here, and why. A block that is not in this list is run."""

RUN_BY = {
    "README.md": "tests/pages/test_pages.py",
    DEPLOYMENT: "tests/processes/test_deployment_page.py",
    "docs/modeller.md": "tests/pages/test_pages.py",
    "tests/browser/test_demo.py": "tests/browser/test_demo.py",
    "examples/describing_two_pods.py": "tests/pages/test_tutorial.py",
    "examples/network.py": "tests/server/modeller/test_torch_model.py",
    "examples/own_network.py": "tests/server/modeller/test_torch_model.py",
    "examples/linear_regression.py": "tests/strategies/test_secure_aggregation.py",
    "examples/followed_regression.py": "tests/strategies/test_replicated_aggregation.py",
    "examples/predicting_a_number.py": "tests/server/modeller/test_regressor.py",
    "examples/tuning.py": "tests/server/modeller/tuning/test_example.py",
    "examples/training_a_model_on_two_pods.py": "tests/pages/test_tutorial.py",
}
"""What runs the files that blocks may refer to, and every example."""


def reason(block: Block) -> str | None:
    """Say why nobody runs a block; the deployment page names parties, and two of them are no party."""
    if block.page == DEPLOYMENT and block.party in ("systemd", "containers"):
        return block.party
    return block.notes.get("not run")


def test_blocks_that_nobody_runs_are_listed() -> None:
    counted = Counter((block.page, why) for block in BLOCKS if (why := reason(block)))
    assert dict(counted) == NOT_RUN


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_a_block_says_what_it_is(block: Block) -> None:
    assert block.language in RUN | SHOWN, "the head of a block is sh, python, toml, yaml or text"
    assert block.notes.keys() <= set(WORDS), "a comment above a block says one of the words of tests/pages/blocks.py"
    if block.page != DEPLOYMENT:
        assert not block.party


@pytest.mark.parametrize("block", [b for b in BLOCKS if "run in" in b.notes], ids=lambda block: block.place)
def test_a_block_that_runs_elsewhere_stands_there(block: Block) -> None:
    elsewhere = block.notes["run in"]
    assert elsewhere in RUN_BY
    assert elsewhere != block.page
    if elsewhere.endswith(".py"):
        assert unindented(block.text) in unindented((ROOT / elsewhere).read_text("utf-8"))
    else:
        there = {line for b in blocks_of(elsewhere) if b.notes.keys() <= {"file"} for line in b.commands()}
        assert set(block.commands()) <= there


def unindented(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines())


def test_every_example_has_a_test() -> None:
    examples = {str(path.relative_to(ROOT)) for path in ROOT.glob("examples/*.py")}
    assert examples <= RUN_BY.keys()
    for file, test in RUN_BY.items():
        assert Path(file).name in (ROOT / test).read_text("utf-8")


def test_the_readers_of_pages_see_what_is_there() -> None:
    text = "<!-- not run: network -->\n```sh\ngit clone x\n```\n\ntext\n```\nls  # lists\n```\n```{click} a\n```\n"
    tagged, plain = blocks_of("page.md", text)
    assert (tagged.language, tagged.notes, tagged.line) == ("sh", {"not run": "network"}, 2)
    assert (plain.language, plain.notes, plain.commands()) == ("", {}, ["ls"])
