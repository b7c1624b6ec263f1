"""A Grid that shows an inner strategy the cohort's nodes and nothing else."""

from collections.abc import Iterable

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run


class CohortGrid(Grid):
    """The view of a grid that an inner strategy samples from; it can neither send nor receive.

    Parameters
    ----------
    grid : Grid
        The real one.
    nodes : iterable of int
        The cohort's node ids.
    """

    def __init__(self, grid: Grid, nodes: Iterable[int]) -> None:
        self._grid, self._nodes = grid, list(nodes)

    def get_node_ids(self) -> Iterable[int]:
        """Return the cohort's node ids."""
        return list(self._nodes)

    @property
    def run(self) -> Run:
        """The run of the real grid."""
        return self._grid.run

    def set_run(self, run: Run) -> None:
        """Refuse: the run is the real grid's."""
        raise NotImplementedError("the cohort's grid cannot change its run")

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Refuse: messages are made with Flower's Message."""
        raise NotImplementedError("the cohort's grid makes no messages")

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Refuse: the outer strategy sends."""
        raise NotImplementedError("the cohort's grid sends nothing: the secure strategy does")

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Refuse: the outer strategy receives."""
        raise NotImplementedError("the cohort's grid receives nothing: the secure strategy does")

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Refuse: the outer strategy sends and receives."""
        raise NotImplementedError("the cohort's grid sends nothing: the secure strategy does")
