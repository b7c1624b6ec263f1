"""Who adds to a sum that not all pods add to, so that none is of fewer pods than their owners allow."""

from collections.abc import Collection, Mapping


def contributors(minima: Mapping[str, int], pods: Collection[str]) -> tuple[str, ...]:
    """Return the pods of a session that add to a sum: as many as leave each of them at least its owner's minimum.

    Parameters
    ----------
    minima : mapping of str to int
        The pods that can add to it, by name, each with the fewest that its owner allows in a sum.
    pods : collection of str
        The pods of the session.
    """
    adding = {name: least for name, least in minima.items() if name in pods}
    while adding and max(adding.values()) > len(adding):
        adding = {name: least for name, least in adding.items() if least <= len(adding)}
    return tuple(sorted(adding))
