"""The source of a network of the modeller's own: one Python file, known by the SHA-256 of its bytes.

It is code that runs at pods, and so it travels where their owners look at it: in the bundle of the run, beside this
file. The run's settings name its digest. In a simulation, and for the ServerApp at the modeller's, it lies in the run's
directory. Nothing here runs it.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from fl_app.errors import UsageError

BUNDLED = "fl_app/tabular/own_network.py"
"""Where the file is in a bundle."""
VARIABLE = "FL_APP_NETWORK"
"""Environment variable that names the file where no bundle has it: the ServerApp and simulated pods are given it."""
MOST_BYTES = 1 << 18
Bounds = Mapping[str, tuple[float, float]]
"""Of the metrics of a network's file, by name; see `fl_app.tabular.own_metrics`."""
_SHOWN = 12


def read_source(path: str | Path) -> str:
    """Read a modeller's file.

    Raises
    ------
    UsageError
        It cannot be read, is too large, or is no text in UTF-8.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        if len(content) > MOST_BYTES:
            raise UsageError(f"{path}: a network's file has at most {MOST_BYTES >> 10} KiB")
        return content.decode()
    except OSError as error:
        raise UsageError(f"{path}: the network's file cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"{path}: a network's file is Python source in UTF-8") from None


def digest_of(source: str) -> str:
    """Return the SHA-256 of a source, in hex: what a run's settings call it."""
    return hashlib.sha256(source.encode()).hexdigest()


def find_source(digest: str) -> str:
    """Return the source that a run's settings name, from the bundle that is run here, or from where `VARIABLE` says.

    Raises
    ------
    UsageError
        There is none, or it is not the one that the settings name.
    """
    place = Path(__file__).with_name(Path(BUNDLED).name)
    if not place.is_file():
        if not (named := os.environ.get(VARIABLE)):
            raise UsageError(f"the run has a network of its own (sha256 {digest[:_SHOWN]}), and the app here has none")
        place = Path(named)
    source = read_source(place)
    check_source(source, digest)
    return source


def check_source(source: str, digest: str) -> None:
    """Raise `UsageError` unless a source is the one with this digest."""
    if (found := digest_of(source)) != digest:
        raise UsageError(f"the network has sha256 {found[:_SHOWN]}, and {digest[:_SHOWN]} is asked for")
