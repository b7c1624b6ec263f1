"""Flower's ``flower-superlink`` behind the gate; run as a module, with its directory and Flower's arguments.

It changes four things in Flower: the gate is the SuperLink's outermost middleware; the nodes are those that the
operator has registered; models and updates in transit are kept in memory even though the SuperLink's own state is
in a file, so that none of them remains on the operator's disk; and requests that the gate holds end when the SuperLink
is asked to end.

``extensions.get_middleware``, ``config_loader.ObjectStoreFactory`` and the call of ``uvicorn.run`` are no public API of
Flower. That they exist and do what is assumed here is checked by ``test_what_the_start_replaces_of_flower_is_there``
and by the tests of whole deployments.
"""

import socket
import sys
from collections.abc import Collection
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from server.superlink.bells import Bells
from server.superlink.certificates import AUTHORITY
from server.superlink.directory import DATABASE
from server.superlink.gate import Gate, log
from server.superlink.housekeeping import clear_ended, truncate_log
from server.superlink.registry import Registry, node_pem
from server.superlink.tokens import audience

_GRACE_SECONDS = 5
"""How long a SuperLink that is asked to end waits for requests under way."""
_HEARTBEAT_SECONDS = 30.0
"""Heartbeat interval of a new node, until its first heartbeat states the interval."""


def main(directory: Path, arguments: list[str]) -> None:
    """Run the SuperLink until it is asked to end."""
    from flwr.common.constant import NOOP_ACCOUNT_NAME, NOOP_FLWR_AID
    from flwr.supercore.object_store import ObjectStoreFactory
    from flwr.superlink import config_loader, extensions
    from flwr.superlink.cli import flower_superlink
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware import Middleware

    registry, bells = Registry(directory), Bells()

    async def changed(app: Any) -> None:
        state = app.state.linkstate_factory.state()
        # Flower's state is synchronous; a thread keeps the event loop free for other requests.
        await run_in_threadpool(apply_register, state, registry, NOOP_FLWR_AID, NOOP_ACCOUNT_NAME)

    audience_here = audience((directory / AUTHORITY).read_bytes())
    database = directory / DATABASE

    def ended(state: Any, runs: Collection[int]) -> Collection[int]:
        over = clear_ended(state, runs)
        truncate_log(database)
        return over

    gate = Middleware(Gate, registry=registry, audience=audience_here, changed=changed, bells=bells, ended=ended)
    _replace(extensions, "get_middleware", lambda: (gate,))
    _replace(config_loader, "ObjectStoreFactory", lambda _database: ObjectStoreFactory())
    truncate_log(database)
    _replace(uvicorn, "run", partial(run, bells, database))
    sys.argv = ["flower-superlink", *arguments]
    flower_superlink()


def run(bells: Bells, database: Path, app: Any, *, reload: bool = False, **settings: Any) -> None:
    """Serve ``app`` as ``uvicorn.run`` does, but let held requests go when the SuperLink is asked to end."""
    if reload:
        raise ValueError("a SuperLink does not reload its code")
    clear_ended(app.state.linkstate_factory.state())
    config = uvicorn.Config(app, timeout_graceful_shutdown=_GRACE_SECONDS, **settings)
    with suppress(KeyboardInterrupt):
        _Server(config, bells, database).run()


class _Server(uvicorn.Server):
    """A server that tells held requests of its end; by itself it would wait until each has been answered."""

    def __init__(self, config: uvicorn.Config, bells: Bells, database: Path) -> None:
        super().__init__(config)
        self._bells, self._database = bells, database

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._bells.end()
        await super().shutdown(sockets)
        truncate_log(self._database, 0)  # here, since a signal ends the process before `run` returns


def apply_register(state: Any, registry: Registry, owner: str, owner_name: str) -> None:
    """Make the nodes in Flower's ``state`` those of the register, and stop the runs of modellers no longer in it.

    Parameters
    ----------
    state
        Flower's LinkState.
    registry
        The parties that the operator has registered.
    owner, owner_name
        Id and name of the account that owns all nodes and runs when Flower runs without accounts.
    """
    from flwr.common.constant import Status
    from flwr.supercore.constant import NodeStatus

    registered = {name: node_pem(card) for name, card in registry.cards.items() if card.node_key is not None}
    present = {}
    for node in state.get_node_info(owner_aids=[owner]):
        if node.status == NodeStatus.UNREGISTERED:
            continue
        if registered.get(node.name) == node.public_key and node.name not in present:
            present[node.name] = node.node_id
        else:
            state.delete_node(owner_aid=owner, node_id=node.node_id)
            log.info("pod %s is no longer registered with the key of node %d", node.name, node.node_id)
    for name in registered.keys() - present.keys():
        try:
            state.create_node(owner, owner_name, registered[name], _HEARTBEAT_SECONDS, name=name)
            log.info("pod %s is registered", name)
        except ValueError as error:
            # Flower accepts no key that an unregistered node has had, so a pod cannot come back with its old one.
            log.warning("pod %s cannot be registered: %s Its owner has to rotate its keys", name, error)
    modellers = {name for name, card in registry.cards.items() if card.role == "modeller"}
    starters = registry.starters()
    for run in state.get_run_info(statuses=[Status.PENDING, Status.STARTING, Status.RUNNING]):
        if (starter := starters.get(run.run_id)) is not None and starter not in modellers:
            state.stop_run(run.run_id)
            log.info("run %d was stopped: modeller %s is no longer registered", run.run_id, starter)


def _replace(module: Any, name: str, value: Any) -> None:
    """Replace ``name`` in a module of Flower's; raises AttributeError if a later Flower no longer has it."""
    getattr(module, name)
    setattr(module, name, value)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
