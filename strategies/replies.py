"""Replies as they come from a SuperLink, one at a time, each put together in the memory that it needs at the end.

Flower's own ``pull_messages`` returns all replies that are there at once, and holds three times each array while it
joins the pieces in which it came. Here a piece is appended as soon as it has come, and forgotten.

``HttpGrid._runtime_client``, ``node`` and the layout of an ``Array`` object are internals of Flower;
tests/strategies/test_replies.py fails if a later Flower moves them. With any other grid, such as a simulation's,
replies come as the grid gives them.
"""

import gc
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import BytesIO
from typing import Any

from flwr.app import Array, Message, RecordDict
from flwr.app.message.arraychunk import ArrayChunk
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.inflatable import inflatable_object as layout
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError, inflatable_class_registry, pull_objects

from fl_app.system.memory import give_back

Incoming = tuple[str, RecordDict | None, int]
"""The id of the message that is answered, and the content, or None and Flower's error code."""
_ABOVE_PIECES = 3
"""Generations of objects in a message above an array's pieces: message, content, record, array."""
Pull = Callable[[Sequence[str]], dict[str, bytes]]


def incoming(grid: Grid, asked: Sequence[str]) -> Iterator[Incoming]:
    """Yield the replies that are there to the messages ``asked``, by their ids.

    Whoever lets go of each before it asks for the next has the server hold one at a time.
    """
    from flwr.superlink.grid.http_grid import HttpGrid  # httpx and protobuf: only a ServerApp that runs needs them

    if isinstance(grid, HttpGrid):
        yield from _from_superlink(grid, asked)
        return
    for message in grid.pull_messages(asked):
        yield message.metadata.reply_to_message_id, *_content(message)


def _from_superlink(grid: Any, asked: Sequence[str]) -> Iterator[Incoming]:
    from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest
    from flwr.proto.runtime_pb2 import PullAppMessagesRequest
    from flwr.supercore.inflatable.inflatable_protobuf_utils import make_pull_object_fn_protobuf
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    run, client = grid.run.run_id, grid._runtime_client
    pull = partial(
        pull_objects,
        pull_object_fn=make_pull_object_fn_protobuf(pull_object_protobuf=client.PullObject, node=grid.node, run_id=run),
    )
    there = client.PullMessages(PullAppMessagesRequest(message_ids=asked))
    for head, tree in zip(there.messages_list, there.message_object_trees, strict=True):
        try:
            message: Message = _put_together(tree, _upper(tree, pull), pull)
        except (ObjectPullError, ValueError, LookupError, TypeError, AttributeError, DecodeError):
            # Pieces that never came, or that a pod made up: that pod's loss, and no end of the run.
            yield head.metadata.reply_to_message_id, None, ErrorCode.MESSAGE_UNAVAILABLE
            continue
        received = ConfirmMessageReceivedRequest(node=grid.node, run_id=run, message_object_id=head.metadata.message_id)
        client.ConfirmMessageReceived(received)
        content, error = _content(message)
        del message
        yield head.metadata.reply_to_message_id, content, error
        del content


def _content(message: Message) -> tuple[RecordDict | None, int]:
    return (None, message.error.code) if message.has_error() else (message.content, 0)


def _upper(tree: Any, pull: Pull) -> dict[str, bytes]:
    """Pull everything of a message but the pieces of its arrays."""
    found, generation = list[str](), [tree]
    for _ in range(1 + _ABOVE_PIECES):
        found += [node.object_id for node in generation]
        generation = [child for node in generation for child in node.children]
    return pull(list(dict.fromkeys(found)))


def _put_together(tree: Any, objects: dict[str, bytes], pull: Pull) -> Any:
    """Return the object at the root of ``tree``, of which ``objects`` holds all but the pieces of arrays."""
    content = objects[tree.object_id]
    kind = inflatable_class_registry[layout.get_object_type_from_object_content(content)]
    if kind is Array:
        return _array(content, [child.object_id for child in tree.children], pull)
    children = {child.object_id: _put_together(child, objects, pull) for child in tree.children}
    return kind.inflate(content, children)


def _array(content: bytes, pieces: Sequence[str], pull: Pull) -> Array:
    """Return an array, its pieces pulled one after another."""
    described = json.loads(layout.get_object_body(content, Array))
    names = layout.get_object_children_ids_from_object_content(content)
    order = [names[place] for place in described["arraychunk_ids"]]
    if set(order) != set(pieces):
        raise ValueError("an array of other pieces than those that came with it")
    data, is_long = BytesIO(), len(order) > 1
    if is_long:
        give_back()
    for name in order:
        data.write(ArrayChunk.inflate(pull([name])[name]).data)
        if is_long:
            gc.collect(1)  # httpx's responses hold themselves, and with them the piece that they carried
    # Taken out without a copy.
    return Array(described["dtype"], tuple(described["shape"]), described["stype"], data.getvalue())
