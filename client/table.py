"""A pod's table at work: read once per process and change of the file, split, described and encoded."""

from dataclasses import dataclass, field
from functools import lru_cache

import pandas as pd

from client.data import read_table, split_rows
from fl_app.errors import UsageError
from fl_app.pods import Pod
from fl_app.tabular.encoding import Encoded, Encoding
from fl_app.tabular.schema import schema_of

PARTS = ("train", "validation", "test")


@dataclass
class PodTable:
    """The rows of one pod, cut into 80/10/10 parts by a split that depends on the pod's name alone."""

    pod: Pod
    frame: pd.DataFrame
    _encoded: dict[tuple[str, str], Encoded] = field(default_factory=dict)

    @classmethod
    def of(cls, pod: Pod) -> "PodTable":
        """Return the table of ``pod``, read again only if its file has changed."""
        return _read(pod.model_dump_json(), pod.datasource.path.stat().st_mtime_ns)

    def schema(self) -> str:
        """Return the JSON of the schema the owner publishes."""
        config = self.pod.data_config
        return schema_of(
            self.frame,
            name=self.pod.name,
            force_stypes=config.force_stypes,
            bounds=config.bounds,
            optional=config.optional,
            min_count=self.pod.policy.minimum_category_count,
        ).to_json()

    def rows(self, part: str) -> pd.DataFrame:
        """Return the rows of "train", "validation" or "test"."""
        indices = split_rows(len(self.frame), self.pod.name)[PARTS.index(part)]
        return self.frame.iloc[indices]

    def encoded(self, part: str, encoding: Encoding) -> Encoded:
        """Return the encoded rows of a part; the last encoding's are kept."""
        key = (part, encoding.model_dump_json())
        if key not in self._encoded:
            self._encoded = {known: rows for known, rows in self._encoded.items() if known[1] == key[1]}
            self._encoded[key] = encoding.encode(self.rows(part))
        return self._encoded[key]


@lru_cache(maxsize=4)
def _read(definition: str, modified: int) -> PodTable:
    """Read the table without the columns its owner ignores: no request, however worded, can reach them then."""
    pod = Pod.model_validate_json(definition)
    frame = read_table(pod.datasource)
    ignored = list(pod.data_config.ignore_cols)
    if absent := [column for column in ignored if column not in frame.columns]:
        raise UsageError(f"ignore_cols of pod '{pod.name}' names {', '.join(absent)}, which the table does not have")
    return PodTable(pod, frame.drop(columns=ignored))
