"""A Flower app in one file, as the bundle that a run brings: to be approved, changed, loaded and asked."""

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from flwr.app import ConfigRecord, Message, RecordDict

from client.site import flower_names
from client.site.warm_app import Question

POD = "name: north\ndatasource: CSVSource\ndatasource_args: {path: secret-table.csv}\n"
PROJECT = """\
[project]
name = "some-app"
version = "1.0.0"
description = "x"
license = "Apache-2.0"

[tool.flwr.app]
publisher = "somebody"

[tool.flwr.app.components]
serverapp = "some_app:app"
clientapp = "some_app:app"

[tool.flwr.app.config]
rounds = 3
secure = true
"""
CODE = """\
import os, random, signal, sys, time
from flwr.clientapp import ClientApp
from flwr.app import ConfigRecord, Message, RecordDict
app = ClientApp()
prepared = []
def preload():
    prepared.append(os.getpid())
def said(message, **values):
    return Message(RecordDict({"said": ConfigRecord(values)}), reply_to=message)
@app.query("hello")
def hello(message, context):
    import fl_app
    count = context.state.get("count", ConfigRecord({"n": 0}))["n"] + 1
    context.state["count"] = ConfigRecord({"n": count})
    given = message.content["given"]["text"] if "given" in message.content else ""
    return said(message, where=__file__, fl_app=fl_app.__file__, process=os.getpid(), waiting=prepared[0], count=count,
                verified=os.environ["FL_APP_VERIFIED_APP"], given=given, rounds=context.run_config["rounds"],
                pod=context.node_config["pod"])
@app.query("numbers")
def numbers(message, context):
    waiting = "torch" in sys.modules
    import numpy, torch
    return said(message, waiting=waiting, python=random.random(), numpy=float(numpy.random.random()),
                torch=float(torch.rand(1)))
@app.query("broken")
def broken(message, context):
    raise ValueError("no file /home/owner/secret-table.csv")
@app.query("killed")
def killed(message, context):
    os.kill(os.getpid(), signal.SIGKILL)
@app.query("left")
def left(message, context):
    os._exit(3)
@app.query("sleeps")
def sleeps(message, context):
    open(os.environ["FL_APP_TEST_ASLEEP"], "w").write(str(os.getpid()))
    time.sleep(600)
"""
NODE, RUN = 7, 11


def bundle(**files: str) -> bytes:
    """Return the app's bundle, with other or further files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in {"pyproject.toml": PROJECT, "some_app.py": CODE, "fl_app/__init__.py": "", **files}.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def run_of(run_id: int = RUN, **changed: Any) -> Any:
    """Return what a SuperLink says of a run of the app."""
    return SimpleNamespace(
        run_id=run_id, series_id=run_id, fab_id="somebody/some-app", fab_version="1.0.0", fab_hash="0" * 64,
        override_config=changed,
    )  # fmt: skip


@contextmanager
def being_server(run_id: int = RUN) -> Iterator[None]:
    """Let messages be made in this process as a ServerApp would; then be nobody again."""
    from flwr.supercore.task_identity import TaskIdentity

    before = TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id
    flower_names.be(run_id, 1)
    try:
        yield
    finally:
        TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id = before


def message(action: str = "hello", text: str = "", run_id: int = RUN, ttl: float = 60.0) -> Any:
    """Return a message of a run to the node."""
    with being_server(run_id):
        content = RecordDict({"given": ConfigRecord({"text": text})} if text else {})
        return Message(content, dst_node_id=NODE, message_type=f"query.{action}", ttl=ttl)


def question(action: str = "hello", context: bytes | None = None, **of: Any) -> Question:
    """Return a message as the app is asked it."""
    from flwr.app import Context
    from flwr.common.serde import context_to_proto

    asked = message(action, **of)
    _, _, objects = flower_names.deflated(asked)
    contents = {object_id: value.deflate() for object_id, value in objects.items()}
    if context is None:
        new = Context(RUN, NODE, {"pod": "north.yaml"}, RecordDict(), {"rounds": 3})
        context = context_to_proto(new).SerializeToString()
    return Question(RUN, NODE, asked.metadata.message_id, context, contents)
