"""What a pod with a table declares of itself at the hello, beside its schema, for all others to count on."""

from fl_app.errors import DataError
from fl_app.validation import Frozen


class Declared(Frozen):
    """A pod's own terms and facts that decide which sums there can be; signed with its hello.

    Attributes
    ----------
    minimum_cohort : int
        Fewest pods that its owner allows in a sum.
    least_rows : int
        Fewest rows of all pods that may show in a bin: its owner's ``minimum_bin_rows``.
    honest_pods : int
        Pods, this one included, whose noise its owner relies on in a private run.
    maximum_parameters : int or None
        Most parameters of a network of the modeller's own that its owner takes part with; None: any number.
    validation, test : bool
        Whether it has as many of those rows, and of each class that it publishes, as its owner asks for: then it adds
        to their evaluation.
    groups : tuple of str
        Where counts are told apart by the categories of a column, those of which it has test rows enough.
    rest : bool
        The same: whether it has test rows in none of these.
    """

    minimum_cohort: int
    least_rows: int
    honest_pods: int = 1
    maximum_parameters: int | None = None
    validation: bool
    test: bool
    groups: tuple[str, ...] = ()
    rest: bool = False

    @classmethod
    def read(cls, pod: str, text: str) -> "Declared":
        """Read what a pod declares; raises `DataError`, naming it, if that cannot be read."""
        try:
            return cls.from_json(text)
        except Exception as error:
            raise DataError(f"what pod '{pod}' declares with its hello cannot be read") from error
