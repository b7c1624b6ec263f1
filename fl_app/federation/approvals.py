"""Which pods approve each other, as a table: the ServerApp records it, and the modeller's commands show it."""

from collections.abc import Collection, Mapping, Sequence


def approval_matrix(pods: Sequence[str], approvals: Mapping[str, Collection[str]]) -> list[list[str]]:
    """Return who approves whom as rows of text: a header, then one row for each pod.

    Parameters
    ----------
    pods
        Names, in the order of rows and columns.
    approvals
        For each pod that answered, the pods it approves.

    Returns
    -------
    list of rows
        A cell is "yes" or "no", "?" where the row's pod did not answer, and "-" on the diagonal.
    """

    def cell(pod: str, other: str) -> str:
        if other == pod:
            return "-"
        if pod not in approvals:
            return "?"
        return "yes" if other in approvals[pod] else "no"

    return [["approves", *pods], *([pod, *(cell(pod, other) for other in pods)] for pod in pods)]
