"""The process in which an approved app waits for messages, everything imported, and forks to answer each.

Importing torch, pandas and an app takes seconds, answering a message often milliseconds. So the app is loaded once,
by this program, from the directory into which the node has unpacked the bundle that its owner approved. Each message
is answered by a fork: a process of its own, which gets the message through a socket of its own and ends with it. What
waits here holds no data, no session and no key; it never computes, or the fork would find torch's threads missing.

Run as a script with the pod's directory, the descriptor of the node's socket, and ``fork`` or ``once``. The
packages of this product are there twice, installed at the site and in the bundle, under the same names: here only the
bundle's are ever imported.
"""

import contextlib
import gc
import json
import logging
import os
import runpy
import socket
import sys
import tomllib
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

VERIFIED = "FL_APP_VERIFIED_APP"
"""Tells the app the SHA-256 of its bundle, which the owner has approved."""
LOG_FILE = "pod.log"  # as in fl_app.system.home, of which nothing is imported here
LOAD_FAILED, RAISED = "load", "raised"
"""Why there is no reply: the app could not be loaded, or raised an exception."""
_OWN_NETWORK = "FL_APP_NETWORK"
"""Where the app looks for a modeller's own network outside of its bundle; a pod runs what its owner has approved."""
_PRELOAD = "preload"
"""A function of this name in the ClientApp's module is called after loading: it imports what handlers will need."""
_MOST_BYTES = 1 << 16


def load(app: Path, fab_id: str, fab_version: str) -> Callable[[Any, Any], Any]:
    """Return the ClientApp in the directory ``app``; raises if any module of its packages comes from elsewhere."""
    from flwr.clientapp.utils import get_load_client_app_fn

    client_app = get_load_client_app_fn(default_app_ref="", app_path=str(app), multi_app=True)(fab_id, fab_version, "")
    components = tomllib.loads((app / "pyproject.toml").read_text("utf-8"))["tool"]["flwr"]["app"]["components"]
    module = sys.modules[components["clientapp"].partition(":")[0]]
    if preload := getattr(module, _PRELOAD, None):
        preload()
    elif "torch" in sys.modules:
        from torch import _dynamo  # noqa: F401 - takes a second, and every optimizer of torch imports it at its first step
    check_origin(app)
    return client_app


def check_origin(app: Path) -> None:
    """Raise unless every imported module that bears the name of one of the app's own came from ``app``."""
    tops = {path.name.removesuffix(".py") for path in app.iterdir()}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in tops:
            file = getattr(module, "__file__", None)
            places = [file] if file else list(getattr(module, "__path__", []))
            if not places or not all(Path(place).is_relative_to(app) for place in places):
                raise ImportError(f"the app's module {name} was loaded from {', '.join(map(str, places)) or 'nowhere'}")


class Waiting:
    """The loaded app, and the node's socket, on which requests come one at a time."""

    def __init__(self, directory: Path, control: socket.socket, *, forks: bool) -> None:
        self._directory, self._control, self._forks = directory, control, forks
        # From the file, since the name of its package is the app's.
        self._flower = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("flower_names.py"))))
        self._app: Callable[[Any, Any], Any] | None = None

    def serve(self) -> None:
        """Load and answer until the node closes its socket."""
        while (received := self._receive()) is not None:
            request, descriptors = received
            if "app" in request:
                self._say({"loaded": self._load(request)})
            elif not self._forks:
                self._say({"pid": os.getpid()})
                self._answer(descriptors[0])
            elif process := os.fork():
                os.close(descriptors[0])
                self._say({"pid": process})
                self._say({"ended": os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])})
            else:
                self._control.close()
                _forget_randomness()
                self._answer(descriptors[0])

    def _load(self, request: dict[str, str]) -> bool:
        os.environ[VERIFIED] = request["hash"]
        os.environ.pop(_OWN_NETWORK, None)
        try:
            self._app = load(Path(request["app"]), request["fab_id"], request["fab_version"])
        except Exception:
            self._log(traceback.format_exc())
            return False
        gc.collect()
        gc.enable()
        gc.freeze()  # what a fork's garbage collector never visits stays shared memory
        return True

    def _answer(self, descriptor: int) -> NoReturn:
        """Answer one message, and end this process whatever happens."""
        code = 1
        try:
            with Connection(descriptor) as link:
                self._exchange(link)
            code = 0
        except Exception:  # the node is gone, or what it sent is no message
            self._log(traceback.format_exc())
        finally:
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # not through the exit handlers of what was imported before the fork

    def _exchange(self, link: Connection) -> None:
        """Take the message, answer it, and hand over what the node asks for of the reply."""
        from flwr.common.serde import context_from_proto, context_to_proto
        from flwr.proto.message_pb2 import Context

        head = json.loads(link.recv_bytes())
        context = context_from_proto(Context.FromString(link.recv_bytes()))
        contents = {object_id: link.recv_bytes() for object_id in head["objects"]}
        self._flower.be(head["run"], head["node"])
        message = self._flower.inflated(head["message"], contents)
        try:
            if self._app is None:
                raise RuntimeError("no app was loaded")
            reply = self._app(message, context)
            proto, tree, objects = self._flower.deflated(reply)
        except Exception:
            self._log(traceback.format_exc())
            link.send_bytes(json.dumps({"failed": RAISED}).encode())
            return
        del message, reply
        for part in (b"{}", proto, tree, context_to_proto(context).SerializeToString()):
            link.send_bytes(part)
        for object_id in json.loads(link.recv_bytes()):
            link.send_bytes(objects.pop(object_id).deflate())

    def _receive(self) -> tuple[dict[str, str], list[int]] | None:
        received, descriptors, _, _ = socket.recv_fds(self._control, _MOST_BYTES, 1)
        return (json.loads(received), descriptors) if received else None

    def _say(self, said: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the node is gone, which the next look will find
            self._control.send(json.dumps(said).encode() + b"\n")

    def _log(self, text: str) -> None:
        """Write what happened to the pod's own log: the server learns only that something did.

        The text may quote what the server sent. Its lines are not at the margin, and it holds nothing that acts: as
        `fl_app.system.printable` has it, of which nothing is imported here.
        """
        shown = "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
        shown = shown.rstrip().replace("\n", "\n  ")
        with (
            contextlib.suppress(OSError),
            open(self._directory / LOG_FILE, "a", opener=lambda path, flags: os.open(path, flags, 0o600)) as file,
        ):
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {shown}\n")


def _forget_randomness() -> None:
    """Seed numpy's and torch's generators anew: every fork would otherwise draw the same numbers."""
    for name, seed in (("numpy.random", "seed"), ("torch", "seed")):
        if module := sys.modules.get(name):
            getattr(module, seed)()


def _import_libraries() -> None:
    """Import what an app's own import does not bring along, and most messages need."""
    import pandas  # noqa: F401 - here and below: loading is the purpose
    import torch  # noqa: F401
    from cryptography.hazmat.backends.openssl import backend  # noqa: F401
    from cryptography.hazmat.primitives.ciphers import aead  # noqa: F401
    from flwr import clientapp  # noqa: F401
    from flwr.supercore.inflatable import inflatable_utils  # noqa: F401
    from pyarrow import parquet  # noqa: F401


def main(directory: str, descriptor: str, how: str) -> None:
    """Import what apps need, and wait."""
    gc.disable()  # nothing that is imported is garbage; until an app is loaded nothing else is made
    _import_libraries()
    with socket.socket(fileno=int(descriptor)) as control:
        Waiting(Path(directory), control, forks=how == "fork").serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
