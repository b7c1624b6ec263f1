"""The state of a SuperLink as its operator's hub shows it: what Flower knows, and what the gate does."""

import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from starlette.concurrency import run_in_threadpool

from server.superlink.traffic import Traffic

MOST_RUNS = 200
"""So many runs are told, the newest, and all that are under way besides."""


async def snapshot(traffic: Traffic, state: Any, starters: Mapping[int, str]) -> dict[str, Any]:
    """Return the document.

    Parameters
    ----------
    traffic
        The gate's, which knows what is under way.
    state
        Flower's LinkState.
    starters
        Which modeller has started which run.

    Returns
    -------
    dict
        ``nodes``: name, node, status, times (ISO 8601 or None), ``busy``, and Flower's version as the pod gives it.
        ``runs``, the newest first: run, modeller, status, times, bytes, and ``waits_for``: the pods whose answer is
        yet to come, since when, for which kind of message, and whether the answer is on its way.
    """
    nodes, runs = await run_in_threadpool(_of_flower, state)
    pods = traffic.presence.pods()
    names = {node.node_id: node.name for node in nodes if node.status == "online"}
    return {
        "time": time.time(),
        "versions": {package: version(package) for package in ("fl-app", "flwr")},
        "nodes": [
            {
                "name": node.name,
                "node": node.node_id,
                "status": node.status,
                "registered_at": node.registered_at,
                "last_activated_at": node.last_activated_at,
                "last_deactivated_at": node.last_deactivated_at,
                "busy": node.name in pods and pods[node.name].busy,
                "flwr": pods[node.name].version if node.name in pods else "",
            }
            for node in nodes
            if node.status != "unregistered"
        ],
        "runs": [
            {
                "run": run.run_id,
                "modeller": starters.get(run.run_id),
                "status": run.status.status,
                "sub_status": run.status.sub_status,
                "details": run.status.details[:2000],
                "started_at": run.pending_at,
                "running_at": run.running_at or None,
                "finished_at": run.finished_at or None,
                "app": run.fab_hash,
                "waits_for": _waited_for(traffic, run.run_id, names) if run.status.status == "running" else [],
            }
            for run in runs
        ],
    }


def _of_flower(state: Any) -> tuple[list[Any], list[Any]]:
    from flwr.common.constant import NOOP_FLWR_AID, Status

    newest = list(state.get_run_info(order_by="pending_at", ascending=False, limit=MOST_RUNS))
    known = {run.run_id for run in newest}
    under_way = state.get_run_info(statuses=[Status.PENDING, Status.STARTING, Status.RUNNING])
    older = [run for run in under_way if run.run_id not in known]
    return list(state.get_node_info(owner_aids=[NOOP_FLWR_AID])), [*newest, *older]


def _waited_for(traffic: Traffic, run: int, names: Mapping[int, str]) -> list[dict[str, Any]]:
    """Return whom a run waits for; Flower itself answers for a node that is offline."""
    waiting = [
        {"pod": names[one.node], "since": one.since, "kind": one.kind, "sends": False}
        for one in traffic.polls.unanswered.of(run)
        if one.node in names
    ]
    sending = {upload.sender for upload in traffic.polls.uploads.to(("run", run)) if upload.sender}
    return [*waiting, *({"pod": pod, "since": None, "kind": "", "sends": True} for pod in sorted(sending))]
