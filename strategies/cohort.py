"""The cohort as the server sees it: the pods that answered the hello, who approves whom, and why there is none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fl_app.errors import RunFailed
from fl_app.federation.approvals import approval_matrix
from fl_app.flower.records import Published
from fl_app.secagg.messages import Hello
from fl_app.system.printable import one_line


class CohortRefused(RunFailed):
    """The requested pods do not form a cohort: one refuses, is missing, or shows a wrong key.

    Attributes
    ----------
    reasons : tuple of str
        One line for each pod that stands in the way.
    requested : tuple of str
        The pods requested.
    approvals : mapping of name to names
        For each pod that answered, the requested pods it approves.
    lost : tuple of str
        The pods that agreed to the hello and failed at the roster, if it came that far.
    """

    def __init__(
        self,
        reasons: Sequence[str],
        requested: Sequence[str],
        approvals: Mapping[str, Sequence[str]] | None = None,
        lost: Sequence[str] = (),
    ) -> None:
        self.reasons = tuple(map(one_line, reasons))  # which name pods as these name themselves
        self.requested, self.lost = tuple(requested), tuple(lost)
        self.approvals = {name: tuple(approved) for name, approved in (approvals or {}).items()}
        super().__init__("no cohort: " + "; ".join(self.reasons))

    def matrix(self) -> list[list[str]]:
        """Return the `approval_matrix` of the requested pods."""
        return approval_matrix(self.requested, self.approvals)


@dataclass(frozen=True)
class Cohort:
    """Pods that answered the hello: their nodes, and what each published (``schemas`` and ``versions`` from there).

    ``misnamed`` has a line of text for each pod in whose name a node answers that is registered under another.
    """

    nodes: dict[str, int]
    hellos: dict[str, Hello]
    schemas: dict[str, str]
    approvals: dict[str, tuple[str, ...]]
    versions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    misnamed: dict[str, str] = field(default_factory=dict)
    published: dict[str, Published] = field(default_factory=dict)

    def check_names(self) -> None:
        """Raise `CohortRefused` if a node answers in the name of a pod under whose name it is not registered."""
        if self.misnamed:
            raise CohortRefused(list(self.misnamed.values()), list(self.nodes), self.approvals, list(self.misnamed))
