"""The fenced blocks of a page of Markdown, with what a comment above a block, which readers do not see, says of it.

``<!-- run in: FILE -->``
    The block's lines stand in another file too, whose own test runs them.
``<!-- not run: REASON -->``
    Nobody runs it here. `tests/pages/test_blocks.py` lists how many such blocks there are.
``<!-- file: NAME -->``
    The block is written into a file of that name, for later blocks.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
WORDS = ("run in", "not run", "file")
_COMMENT = re.compile(r"<!--\s*([a-z ]+):\s*(.+?)\s*-->")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    ``language`` and ``party`` are the first two words of its head; ``notes`` are what the comment
    above it says, by word.
    """

    page: str
    line: int
    language: str
    party: str
    text: str
    notes: dict[str, str]

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    def commands(self) -> list[str]:
        """The block's lines without what is remarked behind them."""
        return [line.partition("  #")[0].strip() for line in self.text.splitlines() if line.strip()]


def pages() -> list[str]:
    """Return the pages of the repository that people read, as paths seen from its root."""
    paths = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("fl_app/**/*.md")]
    return sorted(str(path.relative_to(ROOT)) for path in paths)


def blocks_of(page: str, text: str | None = None) -> list[Block]:
    """Return the fenced blocks of a page, but for directives of the documentation site (```` ```{toctree} ````)."""
    content = (ROOT / page).read_text("utf-8") if text is None else text
    blocks, notes = [], {}
    for token in MarkdownIt("commonmark").parse(content):
        if token.type == "html_block":
            notes = dict(_COMMENT.findall(token.content))
            continue
        if token.type == "fence" and not token.info.startswith("{"):
            language, _, party = token.info.strip().partition(" ")
            line = token.map[0] + 1 if token.map else 0
            blocks.append(Block(page, line, language, party, token.content, notes))
        notes = {}
    return blocks
