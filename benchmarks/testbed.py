"""What whole runs are measured on: pods with a table and a key each, and one model for every contender."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from fl_app.config import RunConfig, Settled
from fl_app.demo import census
from fl_app.federation.kinds import Federation, read_federation
from fl_app.identity.known_pods import keygen
from fl_app.tabular.encoding import Encoded, Encoding, statistic_sums
from fl_app.tabular.regime import LARGE
from fl_app.tabular.schema import schema_of
from fl_app.tabular.settings import DataStructure

PARTS = ("train", "validation")
_CONFIG, _ENCODING = "config.json", "encoding.json"
_STRUCTURE = DataStructure(target="TARGET", ignore_cols=("fnlwgt",))
_VALUES, _TIMES = 200, 12
"""Different values of a column of the wide tables, and how many rows of a pod have each."""
_POLICY = "{minimum_cohort: 2, require_secure_aggregation: false}"


@dataclass(frozen=True)
class Testbed:
    """A directory with a table and a key for each of ``pods``."""

    directory: Path
    pods: tuple[str, ...]

    @property
    def home(self) -> Path:
        """Where keys and ledgers are."""
        return self.directory / "home"

    def pod_file(self, name: str) -> Path:
        """Return the pod file of pod ``name``."""
        return self.directory / f"{name}.yaml"

    def federation(self, superlink: str | None = None) -> Federation:
        """Return the pods as a federation: in simulation, or at the SuperLink at that address."""
        if superlink is None:
            listed = [str(self.pod_file(name)) for name in self.pods]
            lines = ['kind = "simulation"', f"home = {json.dumps(str(self.home))}"]
        else:
            listed, lines = list(self.pods), ['kind = "deployment"', f'superlink = "{superlink}"', "insecure = true"]
        path = self.directory / "fl-app.toml"
        path.write_text("\n".join(["[federation.bench]", *lines, f"pods = {json.dumps(listed)}", ""]))
        return read_federation(path, "bench")

    def _write_pod(self, name: str, rows: pd.DataFrame) -> None:
        """Write the table of pod ``name``, its file, which approves all pods, and its key."""
        rows.to_csv(self.directory / f"{name}.csv", index=False)
        self.pod_file(name).write_text(
            f"name: {name}\ndatasource: CSVSource\ndatasource_args: {{path: {name}.csv}}\n"
            f"approved_pods: [{', '.join(self.pods)}]\npolicy: {_POLICY}\n"
        )
        keygen(name, self.home)


class CensusTestbed(Testbed):
    """The census rows, dealt to the pods, and encoded too.

    The encoded rows are for Flower's plain app, which would otherwise have to read and encode in every message; pods
    of this product keep theirs on disk too.
    """

    @classmethod
    def create(cls, directory: Path, pods: int) -> Self:
        """Deal the census rows to ``pods`` pods in turn, and write all that a run of any contender needs."""
        testbed = cls(directory, _names(pods))
        rows = _census().sample(frac=1, random_state=0)
        schema = schema_of(rows, name="census")
        encoding = Encoding.of(schema, _STRUCTURE, statistic_sums(rows, schema, _STRUCTURE))
        directory.mkdir(parents=True)
        (directory / _ENCODING).write_text(encoding.to_json())
        for place, name in enumerate(testbed.pods):
            own = rows.iloc[place::pods]
            testbed._write_pod(name, own)
            cut = len(own) * 8 // 9
            for part, frame in zip(PARTS, (own[:cut], own[cut:]), strict=True):
                _save_rows(directory / _rows_file(place, part), encoding.encode(frame))
        return testbed

    def write_config(self, rounds: int, threshold: int = 0, *, secure: bool = True) -> Settled:
        """Return the settings of the next run, and write them where the plain app reads them."""
        config = _settled(RunConfig(pods=self.pods, datastructure=_STRUCTURE, rounds=rounds, threshold=threshold,
                                    secure=secure, hello_timeout=120.0))  # fmt: skip
        (self.directory / _CONFIG).write_text(config.to_json())
        return config


class WideTestbed(Testbed):
    """Tables of many columns and few rows, whose model is therefore large and quickly trained."""

    @classmethod
    def create(cls, directory: Path, pods: int, columns: int) -> Self:
        """Write tables of ``columns`` categories with `_VALUES` values each, and of the two classes to be told."""
        testbed = cls(directory, _names(pods))
        directory.mkdir(parents=True)
        rng = np.random.default_rng(0)
        for name in testbed.pods:
            # Each value occurs equally often, so that the model's size does not depend on the draw.
            cells = np.tile(np.arange(_VALUES), _TIMES)
            table = {wide_column(place): rng.permutation(cells) for place in range(columns)}
            rows = pd.DataFrame(table).map("v{}".format)
            testbed._write_pod(name, rows.assign(TARGET=np.where(np.arange(len(cells)) % 2, "yes", "no")))
        return testbed

    def config(self, rounds: int, ignore: Sequence[str] = ()) -> Settled:
        """Return the settings of a run without some of the columns."""
        structure = DataStructure(target="TARGET", ignore_cols=tuple(ignore))
        return _settled(RunConfig(pods=self.pods, datastructure=structure, rounds=rounds, architecture="tutorial",
                                  hello_timeout=120.0))  # fmt: skip


def wide_column(place: int) -> str:
    """Return the name of a column of the wide tables."""
    return f"c{place}"


def _settled(config: RunConfig) -> Settled:
    """Return the settings as those of a large table, to the last round, however small the testbed is."""
    return Settled.of(config.model_copy(update={"early_stopping": None}), LARGE)


def load_config(directory: Path) -> Settled:
    """Return the settings of the last run on the testbed in ``directory``."""
    return Settled.from_json((directory / _CONFIG).read_text())


def load_encoding(directory: Path) -> Encoding:
    """Return the encoding of the testbed's rows, the same for all its pods."""
    return Encoding.from_json((directory / _ENCODING).read_text())


def load_rows(directory: Path, place: int, part: str) -> Encoded:
    """Return the encoded rows of the pod at ``place``; ``part`` is one of `PARTS`."""
    with np.load(directory / _rows_file(place, part)) as arrays:
        return Encoded(**dict(arrays))


def _save_rows(path: Path, rows: Encoded) -> None:
    arrays = {"numbers": rows.numbers, "bins": rows.bins, "codes": rows.codes, "labels": rows.labels}
    np.savez(path, **arrays)  # type: ignore[arg-type]


def _names(pods: int) -> tuple[str, ...]:
    return tuple(f"pod-{place}" for place in range(pods))


def _rows_file(place: int, part: str) -> str:
    return f"{place}-{part}.npz"


def _census() -> pd.DataFrame:
    packaged = Path(census.__file__).with_name("data")
    tables = [pd.read_csv(packaged / f"{name}.csv.gz", na_values=["?"], skipinitialspace=True) for name in census.PODS]
    return pd.concat(tables, ignore_index=True)
