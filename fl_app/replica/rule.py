"""What an app declares so that its pods can follow a run: how a replica begins, and what each verified sum makes of it.

A rule is a pure function of what it is given: it reads no clock, no file and no generator of the process, and computes
the same bits on any processor.
"""

from collections.abc import Collection, Mapping
from typing import Protocol

from flwr.app import RecordDict

from fl_app.flower.names import CONFIG_RECORD, EVALUATE, MODEL_ROUND
from fl_app.flower.records import Published
from fl_app.replica.state import Replica
from fl_app.secagg.codec import Aggregate
from fl_app.secagg.errors import MalformedMessage


class Rule(Protocol):
    """How an app's runs are followed; ``settings`` are those that the session binds, as the app writes them."""

    def proposal(self, settings: str) -> str:
        """Return what the settings propose to the pods for what they publish."""

    def begin(self, settings: str, published: Mapping[str, Published]) -> Replica:
        """Return the replica before the first step, from what each pod of the roster publishes, by its name.

        Raises
        ------
        FlAppError
            If no run can be made of it.
        """

    def objection(self, replica: Replica, pods: Collection[str], least: int) -> str:
        """Return why a pod takes no part whose owner wants ``least`` pods in each sum, "" where it does."""

    def request(self, settings: str, replica: Replica, kind: str, number: int, pods: Collection[str]) -> RecordDict:
        """Return what the handlers of a step are given, the round ``number`` of its kind, in a session of ``pods``.

        The model of an evaluation is the replica's own; where another round's is asked for, the caller replaces it.
        """

    def sizes(self, settings: str, replica: Replica, kind: str) -> dict[str, int]:
        """Return the number of elements of each segment of a step's vectors, by name; 1 where it is not named."""

    def after(self, settings: str, replica: Replica, kind: str, number: int, sums: Aggregate) -> Replica:
        """Return the replica once a step's sums have been verified."""


def requested_model(content: RecordDict, kind: str, replica: Replica) -> int | None:
    """Return the number of the round whose model an evaluation is asked of, where it is not the replica's own.

    Raises
    ------
    MalformedMessage
        If the replica knows of no such round.
    """
    record = content.config_records.get(CONFIG_RECORD)
    number = record.get(MODEL_ROUND) if record and kind == EVALUATE else None
    if number is None or number == replica.last_round:
        return None
    if not isinstance(number, int) or number not in replica.history:
        raise MalformedMessage("an evaluation of a round that this run has not completed")
    return number
