"""Names of Flower's that are not public and without which a pod could not be a node.

Flower changes between releases. `missing` compares what is installed with what is used here, so that a node under a
Flower whose shape is unknown says what it misses and answers nothing. tests/client/site/test_flower_names.py runs it
against the installed Flower, in every release that is supported.
"""

import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

SUPPORTED = ">=1.41,<1.44"
"""The releases that pyproject.toml allows; a test holds the two together."""

_USED = {
    "flwr.app": ("Context", "Error", "Message", "RecordDict"),
    "flwr.clientapp": ("ClientApp",),
    "flwr.clientapp.utils": ("get_load_client_app_fn",),
    "flwr.common.constant": ("ErrorCode",),
    "flwr.common.serde": ("context_from_proto", "context_to_proto", "message_from_proto", "message_to_proto"),
    "flwr.app.message": ("remove_content_from_message",),
    "flwr.proto.message_pb2": ("Context", "Message", "ObjectTree"),
    "flwr.supercore.inflatable.inflatable_object": (
        "get_all_nested_objects",
        "get_object_tree",
        "iterate_object_tree",
        "no_object_id_recompute",
    ),
    "flwr.supercore.inflatable.inflatable_utils": (
        "inflate_object_from_contents",
        "pull_objects",
        "push_object_contents_from_iterable",
    ),
    "flwr.supercore.run": ("RunNotRunningException",),
    "flwr.supercore.task_identity": ("TaskIdentity",),
    "flwr.supernode.fleet_http_connection": ("http_request_response",),
}
_CALLED_WITH = {
    ("flwr.supernode.fleet_http_connection", "http_request_response"): (
        "server_address",
        "insecure",
        "root_certificates",
        "authentication_keys",
        "max_retries",
        "max_wait_time",
    ),
    ("flwr.clientapp.utils", "get_load_client_app_fn"): ("default_app_ref", "app_path", "multi_app"),
    ("flwr.supercore.inflatable.inflatable_utils", "inflate_object_from_contents"): ("object_id", "object_contents"),
    ("flwr.supercore.inflatable.inflatable_utils", "pull_objects"): ("object_ids", "pull_object_fn"),
    ("flwr.supercore.inflatable.inflatable_utils", "push_object_contents_from_iterable"): (
        "object_contents",
        "push_object_fn",
    ),
}
"""The first parameters of what is called by position, and the names of what is called by name."""
_ERROR_CODES = ("CLIENT_APP_CRASHED", "CLIENT_APP_RAISED_EXCEPTION", "LOAD_CLIENT_APP_EXCEPTION")
_CONNECTION = ("node id", "receive", "send", "run", "bundle", "pull object", "push object", "confirm")


def missing() -> list[str]:
    """Return which names, parameters and error codes that are used the installed Flower does not have."""
    return list(_missing(importlib.import_module))


def _missing(load: Callable[[str], Any]) -> Iterator[str]:
    for module, names in _USED.items():
        try:
            found = load(module)
        except ImportError:
            yield module
            continue
        for name in names:
            if not hasattr(found, name):
                yield f"{module}.{name}"
            elif expected := _CALLED_WITH.get((module, name)):
                parameters = tuple(inspect.signature(getattr(found, name)).parameters)
                if parameters[: len(expected)] != expected:
                    yield f"{module}.{name}({', '.join(expected)})"
            elif name == "ErrorCode":
                yield from (f"ErrorCode.{code}" for code in _ERROR_CODES if not hasattr(found.ErrorCode, code))


def checked_connection(connection: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what a connection to a SuperLink consists of; raises `RuntimeError` if Flower hands over other things."""
    node, *calls = connection
    if len(connection) != len(_CONNECTION) or not isinstance(node, int) or not all(map(callable, calls)):
        raise RuntimeError(f"a connection of Flower's is not ({', '.join(_CONNECTION)}) any more")
    return connection


def deflated(message: Any) -> tuple[bytes, bytes, dict[str, Any]]:
    """Take a message apart, as Flower sends it.

    Returns
    -------
    bytes, bytes, dict
        The message without its content and the tree of its objects, both protobuf, and the objects by their ids,
        children first.
    """
    from flwr.app.message import remove_content_from_message
    from flwr.common.serde import message_to_proto
    from flwr.supercore.inflatable.inflatable_object import (
        get_all_nested_objects,
        get_object_tree,
        no_object_id_recompute,
    )

    message.metadata.__dict__["_message_id"] = message.object_id
    proto = message_to_proto(remove_content_from_message(message))
    with no_object_id_recompute():
        return proto.SerializeToString(), get_object_tree(message).SerializeToString(), get_all_nested_objects(message)


def tree(proto: bytes) -> Any:
    """Return the tree of a message's objects."""
    from flwr.proto.message_pb2 import ObjectTree

    return ObjectTree.FromString(proto)


def object_ids(tree: Any) -> list[str]:
    """Return the ids of the objects in a message's tree, each once, children first."""
    from flwr.supercore.inflatable.inflatable_object import iterate_object_tree

    return list(dict.fromkeys(node.object_id for node in iterate_object_tree(tree)))


def inflated(object_id: str, contents: dict[str, bytes]) -> Any:
    """Put a message together from its objects' contents, which are taken out of ``contents``."""
    from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

    message: Any = inflate_object_from_contents(object_id, contents)
    message.metadata.__dict__["_message_id"] = object_id
    return message


def be(run: int, node: int, task: int = 0) -> None:
    """Be, in the eyes of Flower's messages, the task that answers in ``run`` at ``node``."""
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = task, run, node
