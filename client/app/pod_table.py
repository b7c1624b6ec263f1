"""A pod's table at work: read at most once per process and change of the file, split, described and encoded."""

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from client.app.encoded_rows import EncodedRows
from client.app.row_split import fold_rows, split_rows
from client.app.table_cache import Identity, TableCache, identity_of
from fl_app.flower import records
from fl_app.pod.definition import Pod
from fl_app.tabular.column_spec import ColumnSpec, agree
from fl_app.tabular.encoding import FIRST_VALUE, Encoded, Encoding, codes_of
from fl_app.tabular.folds import Fold
from fl_app.tabular.groups import own_groups
from fl_app.tabular.label_counts import label_sums
from fl_app.tabular.schema import Schema, schema_of

if TYPE_CHECKING:
    from fl_app.tabular.cells import Table

PARTS = ("train", "validation", "test")


@dataclass
class PodTable:
    """The rows of one pod, cut into parts by a split that depends on the pod's name and the owner's shares alone."""

    pod: Pod
    _encoded: dict[tuple[str, str, str], Encoded] = field(default_factory=dict)
    _schemas: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, pod: Pod) -> "PodTable":
        """Return the table of ``pod``, which is read when it is first needed, and again if its file has changed."""
        return _table(pod.model_dump_json(), identity_of(pod.datasource.path))

    @cached_property
    def cells(self) -> "Table":
        """The table without the columns its owner ignores: no request, however worded, can reach them then."""
        from fl_app.tabular.table_file import read_table

        source = self.pod.datasource
        return read_table(
            source.path,
            source.read_options,
            parquet=source.kind == "parquet",
            without=self.pod.data_config.ignore_cols,
        )

    def schema(self, proposal: str = "", directory: Path | None = None) -> str:
        """Return the JSON of the schema the owner publishes; raises `TooLarge`, naming columns, if it cannot be sent.

        Parameters
        ----------
        proposal : str
            A modeller's `ColumnSpec` as JSON, which decides what the owner's file leaves open; "" for none.
        directory : Path or None
            Where it is kept for the next process, which then need not read the table; None: nowhere.
        """
        return TableCache(directory, self.pod).published(proposal, lambda: self._described(proposal))

    def frame(self, directory: Path | None = None) -> str:
        """Return a digest of what decides which rows are trained on and which are held out, for good.

        That is the table's bytes, how they are read, and the split. A row may change its part where one of these does.

        Parameters
        ----------
        directory : Path or None
            Where the digest of the table's bytes is kept for the next process; None: nowhere.
        """
        source, config = self.pod.datasource, self.pod.data_config
        split = [self.pod.name, config.validation_percent, config.test_percent]
        table = [TableCache(directory, self.pod).digest().hex(), source.model_dump_json(exclude={"path"})]
        return hashlib.sha256(json.dumps([table, split]).encode()).hexdigest()

    def enough_rows(
        self,
        target: str,
        proposal: str,
        directory: Path | None = None,
        *,
        numeric: bool = False,
        fold: Fold | None = None,
    ) -> dict[str, bool]:
        """Say of the validation and of the test rows whether there are as many, also of each class, as the owner wants.

        Of a target that is a number so many in all are enough.

        Parameters
        ----------
        target, proposal : str
            The column, and what the modeller proposes for the columns.
        directory : Path or None
            Where the answer is kept for the next process, which then need not read the table; None: nowhere.
        numeric : bool
            Whether few whole numbers are learnt as numbers too.
        fold : Fold or None
            What the run holds out; None: what the owner's shares say.
        """
        asked = json.dumps(["rows of each class", target, proposal, numeric, fold and str(fold)])
        kept = TableCache(directory, self.pod).published(
            asked, lambda: self._enough_rows(target, self.schema(proposal, directory), numeric=numeric, fold=fold)
        )
        enough: dict[str, bool] = json.loads(kept)
        return enough

    def _enough_rows(self, target: str, described: str, *, numeric: bool, fold: Fold | None) -> str:
        schema, enough = Schema.from_json(described), {}
        for part in PARTS[1:]:
            counts = np.zeros(1, np.int64)
            if target in schema.names:
                column = schema.column(target)
                as_number = numeric and column.kind == "continuous"
                column = column.model_copy(update={"values": ()}) if as_number else column.as_target()
                counts = label_sums(self.rows(part, fold), column)[FIRST_VALUE:]
            policy = self.pod.policy
            enough[part] = bool(
                counts.sum() >= policy.minimum_evaluation_rows and (counts >= policy.minimum_rows_per_class).all()
            )
        return json.dumps(enough)

    def groups(self, target: str, column: str, proposal: str, directory: Path | None = None) -> tuple[list[str], bool]:
        """Return the categories of a column of which there are test rows enough, and whether there are rows beside.

        Parameters
        ----------
        target, column, proposal : str
            The target, the column, and what the modeller proposes for all others.
        directory : Path or None
            Where the answer is kept for the next process; None: nowhere.
        """
        asked = json.dumps(["rows of each group", target, column, proposal])
        kept = TableCache(directory, self.pod).published(
            asked, lambda: self._groups(target, column, Schema.from_json(self.schema(proposal, directory)))
        )
        groups, rest = json.loads(kept)
        return groups, rest

    def _groups(self, target: str, column: str, schema: Schema) -> str:
        rows, policy = self.rows("test"), self.pod.policy
        if not {target, column} <= set(schema.names):
            return json.dumps([[], True])
        labels, groups = schema.column(target).as_categories(), schema.column(column).as_categories()
        classes, size = len(labels.values), len(groups.values)
        label, group = codes_of(rows, labels) - FIRST_VALUE, codes_of(rows, groups) - FIRST_VALUE
        counts = np.zeros((size + 1, classes), np.int64)
        labelled = label >= 0
        np.add.at(counts, (np.where(group >= 0, group, size)[labelled], label[labelled]), 1)
        terms = (policy.minimum_evaluation_rows, policy.minimum_rows_per_class)
        large, rest = own_groups(counts[:-1], counts[-1], int((~labelled).sum()), *terms)
        return json.dumps([[groups.values[place] for place in large], rest])

    def _described(self, proposal: str) -> str:
        if proposal not in self._schemas:
            self._schemas = {proposal: self._describe(proposal)}  # of the last proposal, and no more
        text = self._schemas[proposal]
        size = len(text.encode())
        most_of_it = _largest(Schema.from_json(text)) if size > records.MAX_MESSAGE else ""
        records.check_size(f"the schema of pod '{self.pod.name}'", size, most_of_it)
        return text

    def _describe(self, proposal: str) -> str:
        config, least = self.pod.data_config, self.pod.policy.minimum_category_count
        agreed = agree(
            self.cells,
            ColumnSpec.proposed(proposal),
            force_stypes=config.force_stypes,
            bounds=config.bounds,
            units=config.units,
            dates={name: date.settings for name, date in config.dates.items()},
            min_count=least,
        )
        schema = schema_of(
            self.cells,
            name=self.pod.name,
            force_stypes=agreed.force_stypes,
            bounds=agreed.bounds,
            optional=config.optional,
            units=agreed.units,
            dates=agreed.dates,
            min_count=least,
            read_as=agreed.read_as,
        )
        return schema.model_copy(update={"disagreements": agreed.disagreements}).to_json()

    def rows(self, part: str, fold: Fold | None = None) -> "Table":
        """Return the rows of "train", "validation" or "test"; in a run that holds out a fold, those that it makes."""
        rows, name, config = len(self.cells), self.pod.name, self.pod.data_config
        if fold:
            parts = fold_rows(rows, name, fold, self.pod.policy.minimum_evaluation_rows)
        else:
            shares = {"validation_percent": config.validation_percent, "test_percent": config.test_percent}
            parts = split_rows(rows, name, **shares)
        return self.cells.rows(parts[PARTS.index(part)])

    def encoded(
        self, part: str, encoding: Encoding, directory: Path | None = None, *, fold: Fold | None = None
    ) -> Encoded:
        """Return the encoded rows of a part; those of the last encoding and fold stay in memory.

        Parameters
        ----------
        directory : Path or None
            Cache on disk, for the next process; None for none.
        fold : Fold or None
            What the run holds out; None: what the owner's shares say.
        """
        key = (part, encoding.model_dump_json(), str(fold))
        if key not in self._encoded:
            self._encoded = {known: rows for known, rows in self._encoded.items() if known[1:] == key[1:]}
            cache = EncodedRows(directory, self.pod, encoding, fold) if directory else None
            self._encoded[key] = self._encode(part, encoding, cache, fold)
        return self._encoded[key]

    def _encode(self, part: str, encoding: Encoding, cache: EncodedRows | None, fold: Fold | None) -> Encoded:
        if cache and (cached := cache.load(part)):
            return cached
        rows = encoding.encode(self.rows(part, fold))
        if cache:
            cache.save(part, rows)
        return rows


def _largest(schema: Schema) -> str:
    """Say which columns take most of a schema's bytes, and what an owner can do about it."""
    columns = sorted(schema.columns, key=lambda column: len(column.model_dump_json()), reverse=True)
    named = ", ".join(f"'{column.name}' with {len(column.values):,} values" for column in columns[:3])
    return f"; most are of {named}: minimum_category_count and ignore_cols decide what is published"


@lru_cache(maxsize=16)
def _table(definition: str, identity: Identity) -> PodTable:
    return PodTable(Pod.model_validate_json(definition))
