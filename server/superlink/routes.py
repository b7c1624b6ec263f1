"""The paths of Flower's SuperLink that the gate knows, and whose they are.

An allow list: a path that a later Flower adds is refused until somebody has decided who may use it. That the paths
below exist in the installed Flower is checked by tests/server/superlink/test_gate.py.
"""

HEALTH = "/health"
START_RUN = "/v1/control/start-run"
ACTIVATE, DEACTIVATE = "/v1/fleet/activate-node", "/v1/fleet/deactivate-node"
HEARTBEAT, CONFIRM = "/v1/fleet/send-node-heartbeat", "/v1/fleet/confirm-message-received"
RUN = "/v1/fleet/get-run"
PULL, PUSH, PUSH_OBJECT = "/v1/fleet/pull-messages", "/v1/fleet/push-messages", "/v1/fleet/push-object"
OF_PODS = frozenset({ACTIVATE, DEACTIVATE, HEARTBEAT, RUN, CONFIRM, PULL, PUSH, PUSH_OBJECT}) | frozenset(
    f"/v1/fleet/{call}" for call in ("get-fab", "pull-object")
)
STOP_RUN = "/v1/control/stop-run"
ACQUIRE = "/v1/runtime/acquire-task"
OF_MODELLERS = frozenset({START_RUN, "/v1/control/list-runs", STOP_RUN, ACQUIRE})
PULL_OF_TASK, PUSH_OF_TASK = "/v1/runtime/pull-messages", "/v1/runtime/push-messages"
PUSH_OBJECT_OF_TASK, TASK_OUTPUT = "/v1/runtime/push-object", "/v1/runtime/push-task-output"
OF_TASKS = frozenset({PULL_OF_TASK, PUSH_OF_TASK, PUSH_OBJECT_OF_TASK, TASK_OUTPUT}) | frozenset(
    f"/v1/runtime/{call}"
    for call in (
        "send-task-heartbeat",
        "pull-task-input",
        "pull-object",
        "confirm-message-received",
        "get-nodes",
        "push-logs",
    )
)
"""Paths for which Flower itself demands the token of a task; the same test checks that it still does."""
