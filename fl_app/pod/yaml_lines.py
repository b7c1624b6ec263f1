"""YAML that remembers where each key stood, so that a mistake can be shown by its line; and values in one line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fl_app.errors import UsageError
from fl_app.validation import Location, Problem, refusal


@dataclass(frozen=True)
class Document:
    """A YAML document: its plain value, and the node tree it was made from."""

    value: Any
    root: yaml.Node | None

    def line(self, location: Location) -> int:
        """Return the line, counted from 1, of the key at ``location``, or of its nearest ancestor that exists."""
        node = self.root
        line = node.start_mark.line if node else 0
        for step in location:
            if isinstance(node, yaml.MappingNode):
                entry = next(((key, value) for key, value in node.value if key.value == str(step)), None)
                if entry is None:
                    break
                line, node = entry[0].start_mark.line, entry[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line = node.start_mark.line
            else:
                break
        return line + 1


def content_of(path: Path) -> bytes:
    """Return the bytes of a file; raises `UsageError` if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error


def parse_yaml(path: Path, content: bytes) -> Document:
    """Return the one YAML document in ``content``, which was read from ``path``.

    Raises
    ------
    UsageError
        If it is not YAML, or gives one key twice; with the line where there is one.
    """
    try:
        loader = _Loader(content)
        root = loader.get_single_node()
        return Document(None if root is None else loader.construct_document(root), root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        text = error.problem or error.context or "not YAML"
        raise refusal(path, [Problem(mark.line + 1 if mark else 0, "", text)]) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise refusal(path, [Problem(0, "", f"not YAML: {' '.join(str(error).split())}")]) from error


class _Loader(yaml.SafeLoader):
    """The safe loader, which by itself would let the last of two equal keys win without a word."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.composer.ComposerError(None, None, f"key '{key.value}' is given twice", key.start_mark)
                seen.add(key.value)
        return node


def in_one_line(value: object) -> str:
    """Return a value as YAML in one line, keys in their order; what cannot be shown is written as an escape."""
    style = '"' if isinstance(value, str) and not value.isprintable() else None  # a line end stays an escape then
    text: str = yaml.safe_dump(
        value,
        default_flow_style=True,
        default_style=style,
        allow_unicode=style is None,
        width=float("inf"),
        sort_keys=False,
    )
    return text.removesuffix("...\n").strip()
