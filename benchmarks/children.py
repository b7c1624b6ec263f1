"""The environment of child processes: they find this package, which is not installed, and the same copy of the app."""

import os
from pathlib import Path

from fl_app.host.processes import flower_environment

CHECKOUT = Path(__file__).resolve().parents[1]


def child_environment(**variables: str) -> dict[str, str]:
    """Return this process's environment with ``variables``, and with this checkout first on PYTHONPATH.

    SuperNodes, ServerApps and measurements in processes of their own all start with it, whatever the working directory.
    """
    path = filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")])
    return flower_environment({**variables, "PYTHONPATH": os.pathsep.join(path)})
