"""Changing one value in a YAML file without disturbing the rest of it: comments, order and form stay.

Only the marks of PyYAML's parser are used, to find where the value is; what is around it is copied byte for byte. The
result is read again before it is written, and compared with what was meant: `write_pod`.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import yaml

from fl_app.errors import UsageError
from fl_app.pod.definition import Pod
from fl_app.pod.pod_file import load_pod
from fl_app.pod.yaml_lines import in_one_line
from fl_app.system.files import replace_file


class CannotEdit(Exception):
    """The file is written in a way that this cannot change."""


def write_pod(path: Path, content: bytes, meant: Pod) -> None:
    """Replace a pod file, if its new content is the pod that is ``meant``.

    Raises
    ------
    CannotEdit
        It is another pod, or none.
    UsageError
        The file cannot be written.
    """
    try:
        if _read_as(path, content) != meant:
            raise CannotEdit
        replace_file(path, content, mode=path.stat().st_mode & 0o777)
    except OSError as error:
        raise UsageError(f"{path}: cannot be changed: {error.strerror}") from error


def _read_as(path: Path, content: bytes) -> Pod | None:
    """Return the pod that ``path`` would hold with this content, None if it would hold none."""
    with NamedTemporaryFile(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent) as trial:
        trial.write(content)
        trial.flush()
        try:
            return load_pod(trial.name)
        except UsageError:
            return None


Change = Callable[[Any], Any]
"""From the value at a place, None where there is none, to the new one; None takes the key away."""


def edit(text: str, path: Sequence[str], change: Change) -> str:
    """Return a YAML document with the value at ``path``, a way through mappings by their keys, changed.

    Parameters
    ----------
    change : callable
        As for `Change`. A list in block style keeps the lines of the items that stay.

    Raises
    ------
    CannotEdit
        The document is no block mapping, or uses anchors or tags where it would be changed.
    """
    root = yaml.compose(text, yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        raise CannotEdit
    return _in_mapping(text, root, path, change)


def _in_mapping(text: str, node: yaml.MappingNode, path: Sequence[str], change: Change) -> str:
    """Change a block mapping."""
    newline = "\r\n" if "\r\n" in text else "\n"
    entry = next(((key, value) for key, value in node.value if key.value == path[0]), None)
    if entry is None:
        if (new := _changed(None, path[1:], change)) is None:
            return text
        line = f"{in_one_line(path[0])}: {in_one_line(new)}{newline}"
        at, indent = node.value[0][0].start_mark.index, node.value[0][0].start_mark.column
        if indent or len(path) == 1:  # before the first key, where the indentation is known
            return f"{text[:at]}{line}{' ' * indent}{text[at:]}"
        return f"{text}{'' if text.endswith(newline) else newline}{line}"
    key, value = entry
    if len(path) > 1 and isinstance(value, yaml.MappingNode) and not value.flow_style:
        left = _changed(_plain(text, value), path[1:], change)
        if left:
            return _in_mapping(text, value, path[1:], change)
        return f"{text[: _after_colon(text, key)]} {{}}{text[_end(text, value) :]}"
    before = _plain(text, value)
    after = _changed(before, path[1:], change)
    if after == before:
        return text
    if after is None:
        start = text.rfind("\n", 0, key.start_mark.index) + 1
        return text[:start] + text[_line_end(text, _end(text, value)) :]
    if isinstance(value, yaml.SequenceNode) and not value.flow_style and after:
        return _in_sequence(text, value, before, after, newline)
    if value.start_mark.line == key.end_mark.line and _isin_one_line(value):
        return f"{text[: value.start_mark.index]}{in_one_line(after)}{text[value.end_mark.index :]}"
    return f"{text[: _after_colon(text, key)]} {in_one_line(after)}{text[_end(text, value) :]}"


def _in_sequence(text: str, node: yaml.SequenceNode, before: Sequence[Any], after: Sequence[Any], newline: str) -> str:
    """Take lines of a block list away, and add others at its end."""
    dash = re.match(r"[ ]*-[ ]+", text[text.rfind("\n", 0, node.value[0].start_mark.index) + 1 :])
    if dash is None:
        raise CannotEdit
    end = _line_end(text, _end(text, node))
    added = "".join(f"{dash[0]}{in_one_line(item)}{newline}" for item in after if item not in before)
    gap = newline if added and not text[:end].endswith("\n") else ""
    text = f"{text[:end]}{gap}{added}{text[end:]}"
    for item, value in reversed(list(zip(node.value, before, strict=True))):
        if value not in after:
            start = text.rfind("\n", 0, item.start_mark.index) + 1
            text = text[:start] + text[_line_end(text, _end(text, item)) :]
    return text


def _changed(value: Any, path: Sequence[str], change: Change) -> Any:
    """Return a plain value with the change made at ``path`` in it; None where nothing is left."""
    if not path:
        return change(value)
    inner = dict(value or {})
    new = _changed(inner.get(path[0]), path[1:], change)
    if new is None:
        inner.pop(path[0], None)
    else:
        inner[path[0]] = new
    return inner or (None if value is None else {})


def _plain(text: str, node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    if node.tag not in _TAGS and not node.tag.startswith("tag:yaml.org,2002:"):
        raise CannotEdit
    return loader.construct_document(node)


_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


def _isin_one_line(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) or bool(getattr(node, "flow_style", False))


def _end(text: str, node: yaml.Node) -> int:
    """Return where the last scalar or flow value of a node ends: a block's own mark is after the comments below it."""
    if not _isin_one_line(node) and isinstance(node, yaml.CollectionNode) and node.value:
        last = node.value[-1]
        return _end(text, last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def _after_colon(text: str, key: yaml.Node) -> int:
    return text.index(":", key.end_mark.index) + 1
