"""The rule of an app that has nothing but a model: how its first one is built, and how it is averaged."""

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fl_app.flower.names import ARRAYS_RECORD, CONFIG_RECORD, PROXIMAL_MU, RUN, SERVER_ROUND, TRAIN, UPDATE
from fl_app.flower.records import Published
from fl_app.replica.averaging import averaged, checked
from fl_app.replica.state import Arrays, Replica
from fl_app.secagg.codec import Aggregate

_NONE: Mapping[str, float] = MappingProxyType({})
_ONES: Mapping[str, int] = MappingProxyType({})


class PlainRule:
    """A `fl_app.replica.rule.Rule` for plain Flower handlers without statistics.

    A handler is given one ArrayRecord, ``arrays``, and a ConfigRecord, ``config``, with the run's settings as ``run``
    and the round's number as ``server-round``.

    Parameters
    ----------
    first_model : callable
        Builds the first model from the settings that the session binds: the same to the bit wherever it is called.
    strategy, parameters : str, mapping
        The averaging strategy and its parameters; see `fl_app.replica.averaging`.
    sizes : mapping of str to int
        Number of elements of the metrics that have more than one, by their segments' names ("evaluate.confusion").

    Raises
    ------
    UsageError
        If there is no such strategy or parameter.
    """

    def __init__(
        self,
        first_model: Callable[[str], Arrays],
        strategy: str = "FedAvg",
        parameters: Mapping[str, float] = _NONE,
        sizes: Mapping[str, int] = _ONES,
    ) -> None:
        self._first_model, self._strategy, self._sizes = first_model, strategy, dict(sizes)
        self._parameters = checked(strategy, parameters)

    def proposal(self, settings: str) -> str:
        """Return nothing: such an app publishes nothing of its data."""
        return ""

    def begin(self, settings: str, published: Mapping[str, Published]) -> Replica:
        """Build the first model."""
        return Replica(model=self._first_model(settings))

    def objection(self, replica: Replica, pods: Collection[str], least: int) -> str:
        """Object to nothing: every pod adds to every sum."""
        return ""

    def request(self, settings: str, replica: Replica, kind: str, number: int, pods: Collection[str]) -> RecordDict:
        """Return the model and the number of the round."""
        told = ConfigRecord({RUN: settings, SERVER_ROUND: number})
        if "proximal_mu" in self._parameters:
            told[PROXIMAL_MU] = self._parameters["proximal_mu"]
        arrays = ArrayRecord({name: Array(array) for name, array in replica.model.items()})
        return RecordDict({ARRAYS_RECORD: arrays, CONFIG_RECORD: told})

    def sizes(self, settings: str, replica: Replica, kind: str) -> dict[str, int]:
        """Return the number of elements of the update, and of the metrics that have more than one."""
        return {**self._sizes, UPDATE: sum(array.size for array in replica.model.values())}

    def after(self, settings: str, replica: Replica, kind: str, number: int, sums: Aggregate) -> Replica:
        """Average a round of training; an evaluation changes nothing."""
        if kind != TRAIN:
            return replica.moved()
        update = sums.values[UPDATE]
        return replica.trained(
            number, *averaged(self._strategy, self._parameters, replica.model, replica.carried, update, number)
        )
