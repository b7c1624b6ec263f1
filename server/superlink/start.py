"""Flower's ``flower-superlink`` with the gate before it; run as a module, with its directory and Flower's arguments.

What it changes of Flower: the SuperLink's outermost middleware is the gate; the nodes are those that the operator has
registered; and models and updates on their way are kept in memory, also where the SuperLink's own state is in a file,
so that none of them is left on the operator's disk.
"""

import sys
from pathlib import Path
from typing import Any

from server.superlink.certificates import AUTHORITY
from server.superlink.gate import Gate, log
from server.superlink.registry import Registry, node_pem
from server.superlink.tokens import audience

_HEARTBEAT_SECONDS = 30.0
"""Until a node's first heartbeat, which says how often they come."""


def main(directory: Path, arguments: list[str]) -> None:
    """Run the SuperLink until it is asked to end."""
    from flwr.common.constant import NOOP_ACCOUNT_NAME, NOOP_FLWR_AID
    from flwr.supercore.object_store import ObjectStoreFactory
    from flwr.superlink import config_loader, extensions
    from flwr.superlink.cli import flower_superlink
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware import Middleware

    registry = Registry(directory)

    async def changed(app: Any) -> None:
        state = app.state.linkstate_factory.state()
        await run_in_threadpool(settle, state, registry, NOOP_FLWR_AID, NOOP_ACCOUNT_NAME)

    gate = Middleware(Gate, registry=registry, audience=audience((directory / AUTHORITY).read_bytes()), changed=changed)
    _replace(extensions, "get_middleware", lambda: (gate,))
    _replace(config_loader, "ObjectStoreFactory", lambda _database: ObjectStoreFactory())
    sys.argv = ["flower-superlink", *arguments]
    flower_superlink()


def settle(state: Any, registry: Registry, owner: str, owner_name: str) -> None:
    """Make the nodes of Flower's ``state`` those that are registered, and stop the runs of whom is not any more.

    Parameters
    ----------
    state
        Flower's LinkState.
    registry
        Whom the operator has registered.
    owner, owner_name
        Id and name of the account that owns all nodes and runs where Flower knows no accounts.
    """
    from flwr.common.constant import Status
    from flwr.supercore.constant import NodeStatus

    wanted = {name: node_pem(card) for name, card in registry.cards.items() if card.node_key is not None}
    there = {}
    for node in state.get_node_info(owner_aids=[owner]):
        if node.status == NodeStatus.UNREGISTERED:
            continue
        if wanted.get(node.name) == node.public_key and node.name not in there:
            there[node.name] = node.node_id
        else:
            state.delete_node(owner_aid=owner, node_id=node.node_id)
            log.info("pod %s is no longer registered with the key of node %d", node.name, node.node_id)
    for name in wanted.keys() - there.keys():
        try:
            state.create_node(owner, owner_name, wanted[name], _HEARTBEAT_SECONDS, name=name)
            log.info("pod %s is registered", name)
        except ValueError as error:
            log.warning("pod %s cannot be registered: %s Its owner has to rotate its keys", name, error)
    modellers = {name for name, card in registry.cards.items() if card.role == "modeller"}
    starters = registry.starters()
    for run in state.get_run_info(statuses=[Status.PENDING, Status.STARTING, Status.RUNNING]):
        if (starter := starters.get(run.run_id)) is not None and starter not in modellers:
            state.stop_run(run.run_id)
            log.info("run %d was stopped: modeller %s is no longer registered", run.run_id, starter)


def _replace(module: Any, name: str, value: Any) -> None:
    """Set ``name`` in a module of Flower's, which must have it."""
    getattr(module, name)
    setattr(module, name, value)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
