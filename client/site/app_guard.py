"""Whether what a message asks for is run at a pod, and from where: the versions of the app that its owner approved.

In Flower the code that a pod runs arrives with every run, and checks inside that code bind nobody. So the pod's node
asks the guard about each message before anything else. The bundle is judged unopened; an approved one is unpacked
into a directory of the guard's own, whatever the server says its name is, and of any other nothing is ever treated as
code.
"""

import io
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.site.app_admission import Request, admit, declared
from client.site.approved_apps import hash_of

if TYPE_CHECKING:
    from flwr.app import RecordDict

UNPACKED = "unpacked"


@dataclass(frozen=True)
class UnpackedApp:
    """An approved app: the SHA-256 of its bundle, where it is unpacked, and the settings it declares."""

    hash: str
    directory: Path
    settings: dict[str, Any]


class Guard:
    """The judgement of each message's app, and the app that was approved last.

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
        self._place = directory / "flower" / UNPACKED
        self._app: UnpackedApp | None = None
        shutil.rmtree(self._place, ignore_errors=True)

    def judge(self, request: Request) -> "RecordDict | UnpackedApp":
        """Return the app if the pod runs it so, and else the refusal to answer with.

        Raises
        ------
        Exception
            Of any kind if the question cannot be answered: that is no yes.
        """
        refusal = admit(request, self.name, self.directory, self.file)
        return self._unpacked(request.content) if refusal is None else refusal

    def close(self) -> None:
        """Remove what was unpacked."""
        shutil.rmtree(self._place, ignore_errors=True)

    def _unpacked(self, content: bytes) -> UnpackedApp:
        hash_ = hash_of(content)
        if self._app is None or self._app.hash != hash_:
            self.close()
            self._place.mkdir(mode=0o700, parents=True)
            app = Path(tempfile.mkdtemp(prefix="app-", dir=self._place))
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                archive.extractall(app)
            self._app = UnpackedApp(hash_, app, declared(content))
        return self._app
