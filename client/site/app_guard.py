"""Flower's ``flwr-clientapp`` at a pod's site: it runs the app versions that the owner approved, and nothing else.

In Flower the code that a pod runs arrives with every run, and checks inside that code bind nobody. So the SuperNode
of a pod finds this in the place of ``flwr-clientapp``. The bundle is judged before anything of it is unpacked; an
approved one is unpacked into a new directory of the guard's own and loaded from there, whatever the server says its
name is; of any other, nothing is ever treated as code. Errors that escape the app stay at the pod.

Run as a script. The packages of this product are there twice, installed at the site and in the bundle, under the same
names: the guard's own are imported for the judgement, and forgotten before the app is loaded.
"""

import atexit
import io
import os
import shlex
import shutil
import sys
import tempfile
import traceback
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

COMMAND = "flwr-clientapp"
OTHERS = ("flwr-agentapp", "flwr-serverapp", "flwr-simulation", "flwr-model", "flwr-connector")
"""What else Flower can start; a SuperNode starts an agent's process where the run, so the server, says it is one."""
FLOWER = ("1.41.", "1.42.")
"""The Flower whose private names `Guard.attach` knows; under another nothing runs."""
MODULE = "flwr.supernode.runtime.run_clientapp"
VERIFIED = "FL_APP_VERIFIED_APP"
_COMMANDS = "flwr.supernode.cli"
_LOG_FILE = "pod.log"  # as in fl_app.system.home: errors are logged outside the blocks that import the packages
_UNPACKED = "unpacked"
_OWN = ("client", "fl_app")


class PodError(Exception):
    """All that the server learns of an error at the pod."""


class Guard:
    """The judgement of one message's app, and its loading.

    Parameters
    ----------
    name : str
        The pod's name.
    directory : Path
        The pod's home: approved versions, ledger, log.
    file : Path
        The file in which the pod, with its owner's policy, is written.
    """

    def __init__(self, name: str, directory: Path, file: Path) -> None:
        self.name, self.directory, self.file = name, directory, file
        self._pulled: tuple[Any, Any] | None = None
        self._refusal: Any = None
        self._app: Path | None = None

    def attach(self, module: Any) -> None:
        """Take over, in Flower's module, what brings a bundle from the message to a ClientApp."""
        self._pull, self._loader = module.pull_task_input, module.get_load_client_app_fn
        for name in ("install_from_fab", "get_project_dir", "install_app_dependencies"):
            getattr(module, name)  # that they are still there
        module.pull_task_input = self.pull
        module.install_from_fab = self.install
        module.get_project_dir = self.unpacked
        module.install_app_dependencies = self.no_dependencies
        module.get_load_client_app_fn = self.loader

    def pull(self, client: Any) -> Any:
        """Pull the message, and remember it and its run."""
        message, context, run, fab = self._pull(client)
        self._pulled = message, run
        return message, context, run, fab

    def install(self, content: bytes, *_: Any, **__: Any) -> None:
        """Judge the bundle, and unpack it if it is approved."""
        with self._quietly():
            if self._pulled is None:
                raise RuntimeError("a bundle came without a message")
            message, run = self._pulled
            os.environ.pop(VERIFIED, None)
            with own_packages():
                from client.site.app_admission import Request, admit
                from client.site.approved_apps import hash_of

                kind = message.metadata.message_type
                request = Request(str(run.run_id), kind, content, dict(run.override_config))
                self._refusal = admit(request, self.name, self.directory, self.file)
                verified = hash_of(content)
            if self._refusal is None:
                self._app = self._unpack(content)
                os.environ[VERIFIED] = verified

    def unpacked(self, *_: Any) -> Path:
        """Return where the app is, whatever the server calls it."""
        return self._app or self.directory

    def no_dependencies(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: an app runs with what its pod's owner has installed."""
        with self._quietly():
            raise RuntimeError("the SuperNode was told to install an app's dependencies")

    def loader(self, *_: Any, **__: Any) -> Callable[..., Any]:
        """Return what loads the ClientApp in the place of what Flower would load."""
        return self._load

    def _load(self, fab_id: str, fab_version: str, _: str) -> Callable[..., Any]:
        if self._refusal is not None:
            return self._refuse
        with self._quietly():
            if self._app is None:
                raise RuntimeError("no bundle was approved")
            app = self._loader(default_app_ref="", app_path=str(self._app), multi_app=True)(fab_id, fab_version, "")
            check_origin(self._app)

        def answer(message: Any, context: Any) -> Any:
            with self._quietly():
                return app(message, context)

        return answer

    def _refuse(self, message: Any, context: Any) -> Any:
        from flwr.app import Message

        return Message(self._refusal, reply_to=message)

    def _unpack(self, content: bytes) -> Path:
        parent = self.directory / "flower" / _UNPACKED
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        app = Path(tempfile.mkdtemp(prefix="app-", dir=parent))
        atexit.register(shutil.rmtree, app, ignore_errors=True)
        sys.dont_write_bytecode = True  # nobody would read it
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            archive.extractall(app)
        return app

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """Write an error to the pod's log, and let the server learn only that there was one."""
        try:
            yield
        except Exception:
            self._log(traceback.format_exc())
            raise PodError(f"pod '{self.name}' could not answer; its own log says why") from None

    def _log(self, text: str) -> None:
        with (
            suppress(OSError),
            open(self.directory / _LOG_FILE, "a", opener=lambda path, flags: os.open(path, flags, 0o600)) as file,
        ):
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}\n")


@contextmanager
def own_packages() -> Iterator[None]:
    """Import this product's packages, inside the block, from where this file is, and leave none of them behind."""
    path, before = str(Path(__file__).resolve().parents[2]), _own_modules()
    for name in before:
        del sys.modules[name]
    sys.path.insert(0, path)
    try:
        yield
    finally:
        sys.path.remove(path)
        for name in _own_modules():
            del sys.modules[name]
        sys.modules.update(before)


def _own_modules() -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in _OWN}


def check_origin(app: Path) -> None:
    """Raise unless every imported module that bears the name of one of the app's own came from ``app``."""
    tops = {path.name.removesuffix(".py") for path in app.iterdir()}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in tops:
            file = getattr(module, "__file__", None)
            places = [file] if file else list(getattr(module, "__path__", []))
            if not places or not all(Path(place).is_relative_to(app) for place in places):
                raise ImportError(f"the app's module {name} was loaded from {', '.join(map(str, places)) or 'nowhere'}")


def write_guard(name: str, directory: Path, file: Path) -> Path:
    """Write the commands by which the SuperNode of pod ``name`` starts an app, and return their directory.

    It goes before Flower's own on the PATH. ``directory`` is the pod's home, ``file`` the pod's file; both absolute.
    """
    place = directory / "flower" / "bin"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.rmtree(directory / "flower" / _UNPACKED, ignore_errors=True)
    guard = [sys.executable, "-P", str(Path(__file__).resolve()), name, str(directory), str(file)]
    for command in (COMMAND, *OTHERS):
        script = place / command
        script.write_text(f'#!/bin/sh\nexec {shlex.join([*guard, command])} "$@"\n', "utf-8")
        script.chmod(0o700)
    return place


def _flwr_clientapp() -> Callable[[], None]:
    """Import Flower's command by itself: with its package come the SuperNode, a web server and a database, every time.

    A message takes a process of its own, and that import takes as long as a small model's training.
    """
    import flwr

    package = ModuleType(_COMMANDS)
    package.__path__ = [str(Path(directory, "supernode", "cli")) for directory in flwr.__path__]
    sys.modules[_COMMANDS] = package
    from flwr.supernode.cli.flwr_clientapp import flwr_clientapp

    return flwr_clientapp


def main(arguments: Sequence[str]) -> int | str:
    """Do what the command that Flower called does, under guard; return an exit code, or what is wrong."""
    name, directory, file, command = arguments[0], Path(arguments[1]), Path(arguments[2]), arguments[3]
    if command != COMMAND:
        with own_packages():
            from client.app.ledger import Ledger
            from fl_app.system.home import LEDGER_FILE

            text = f"a run asked for {command}, which a pod does not run"
            Ledger(directory / LEDGER_FILE).enter_refusal("", command, 0, text)
        return text
    if not (installed := version("flwr")).startswith(FLOWER):
        those = " and ".join(FLOWER)
        return f"pod '{name}' runs no app under flwr {installed}: its guard supports flwr {those} only; install that"
    command_of_flower = _flwr_clientapp()
    Guard(name, directory, file).attach(sys.modules[MODULE])
    sys.argv = [command, *arguments[4:]]
    command_of_flower()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
