"""Which user of this machine is at the other end of a connection over the loopback interface.

Cookies know no ports: whatever another user of the machine serves on 127.0.0.1 is sent a hub's cookie by a browser that
comes by there. So a session is of the user who logged in, as the kernel tells it, and of nobody else.
"""

import ipaddress
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
"""Linux's lists of connections; where there are none, a session is bound to nobody."""
_ADDRESS, _OTHER, _OWNER = 1, 2, 7


def user_of(client: Sequence[object] | None, server: Sequence[object] | None, tables: Iterable[Path] = TABLES) -> str:
    """Return the number of the user whose process has a connection's other end; "" if that is not known.

    Parameters
    ----------
    client, server
        Address and port of the two ends, as ASGI has them; anything but loopback is not known.
    tables
        Where the kernel lists connections.
    """
    if not client or not server or not ipaddress.ip_address(str(client[0])).is_loopback:
        return ""
    theirs, ours = _written(*client), _written(*server)
    for table in tables:
        try:
            lines = table.read_text("ascii")
        except OSError:
            continue
        for line in lines.splitlines() if any(one in lines for one in theirs) else ():
            fields = line.split()
            if fields[_ADDRESS] in theirs and fields[_OTHER] in ours:
                return fields[_OWNER]
    return ""


def _written(host: object, port: object, *_: object) -> set[str]:
    """Return an address as the kernel writes it: each word as this machine has it in memory, IPv4 in IPv6 as well."""
    packed = ipaddress.ip_address(str(host)).packed
    forms = [packed, b"\0" * 10 + b"\xff\xff" + packed] if len(packed) == 4 else [packed]
    return {f"{''.join(_word(form[at : at + 4]) for at in range(0, len(form), 4))}:{port:04X}" for form in forms}


def _word(four: bytes) -> str:
    return f"{int.from_bytes(four, sys.byteorder):08X}"
