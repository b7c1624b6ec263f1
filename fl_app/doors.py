"""Every upward reference, as a name: what a lower room opens in a higher one without importing it.

Imports run one way, ``server -> strategies -> fl_app`` and ``client -> fl_app``. Where the front door has to reach
up (a pod that starts, a command of the modeller's), it asks for a door by name. This is the only place that imports
a module by name, so the list below is complete.
"""

import importlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

DOORS: Mapping[str, str] = MappingProxyType(
    {
        "pod.start": "client.run:start",
        "command.demo": "server.commands.fit:demo",
        "command.fit": "server.commands.fit:fit",
        "command.pods": "server.commands.pods:pods",
        "command.pod": "client.commands.group:pod",
        "command.modeller": "server.commands.modeller:modeller",
        "command.provision": "server.commands.provision:provision",
        "command.superlink": "server.commands.superlink:superlink",
        "command.runs": "server.commands.runs:runs",
        "command.export": "server.commands.export:export",
        "command.predict": "server.commands.predict:predict",
        "command.report": "server.commands.report:report",
        "command.bench": "server.commands.bench:bench",
        "command.doctor": "server.commands.doctor:doctor",
        "modeller.fit": "server.fit:fit",
        "modeller.resume": "server.resume:resume_named",
        "modeller.progress": "server.progress:Progress",
        "modeller.schemas": "server.schemas:ask_pods",
    }
)
"""Name of the door -> ``module:attribute`` behind it."""


def open_door(name: str) -> Callable[..., Any]:
    """Import and return what is behind the door ``name``.

    Raises
    ------
    KeyError
        If there is no such door. That is a mistake in the program, not the user's.
    """
    module, _, attribute = DOORS[name].partition(":")
    opened: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return opened
