import numpy as np
import pandas as pd

from fl_app.tabular.cells import Table
from fl_app.tabular.label_counts import LabelCounts, label_sums, left_out
from fl_app.tabular.schema import Column

TARGET = Column(name="t", kind="categorical", values=("no", "yes"))
TABLE = Table.of(pd.DataFrame({"t": ["yes"] * 5 + ["no"] * 3 + [None, "?"] + ["maybe"] * 2 + ["never"]}))


def test_rows_are_counted_by_the_code_of_their_label() -> None:
    sums = label_sums(TABLE, TARGET)
    counts = LabelCounts.from_sums(sums + label_sums(TABLE, TARGET) + 1e-9)
    assert len(sums) == LabelCounts.size(TARGET)
    assert counts == LabelCounts(unpublished=6, missing=4, classes=(6, 10))
    assert counts.left_out == 10


def test_a_count_of_fewer_rows_than_the_owner_tells_is_given_as_none() -> None:
    assert label_sums(TABLE, TARGET, least=3).tolist() == [3, 0, 3, 5]
    assert label_sums(TABLE, TARGET, least=4).tolist() == [0, 0, 0, 5]
    assert label_sums(TABLE, TARGET).dtype == np.int64


def test_the_texts_of_labels_that_are_not_scored_are_counted() -> None:
    assert left_out(TABLE, TARGET) == {"": 2, "maybe": 2, "never": 1}
    assert left_out(TABLE.rows(np.arange(8)), TARGET) == {}
