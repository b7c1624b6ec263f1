"""What a modeller still reads with settings that any modeller may give: SECURITY.md says that it is not stopped."""

from collections import Counter
from pathlib import Path

import numpy as np

from client.app.main import _seed
from tests.adversary.hostile.few_columns import counts_of_pairs
from tests.adversary.hostile.honest import settings
from tests.adversary.hostile.tables import CATEGORIES, PODS, TARGET, census
from tests.adversary.hostile.weights import BATCH, Named, rows_by_pod


def test_an_evaluation_over_two_columns_counts_rows_by_both_and_the_label(tmp_path: Path) -> None:
    pods = census(tmp_path)
    read = counts_of_pairs(pods)
    true = pods.pooled("validation").groupby(["age", "sex", "income"]).size().to_dict()
    right = {triple: count for triple, count in read.items() if count == true.get(triple, 0)}
    assert len(right) > 0.9 * len(read) > 50  # 112 of 112
    assert sum(count == 1 for count in right.values()) >= 5  # 20 rows, each alone with its age, sex and label


def test_a_round_of_one_small_batch_tells_whose_row_has_a_rare_value(tmp_path: Path) -> None:
    pods = census(tmp_path)
    read, true = Counter(rows_by_pod(pods)), Counter[Named]()
    for pod in PODS:
        rows, seed = pods.rows(pod, "train"), _seed(settings(batch_size=BATCH), 1, pod)
        order = np.random.default_rng(seed).permutation(len(rows))
        batch = rows.iloc[np.array_split(order, len(rows) // BATCH)[0]]
        true.update(
            Named(pod, row[TARGET], column, row[column]) for _, row in batch.iterrows() for column in CATEGORIES
        )
    assert read.total() >= 8
    assert (read & true).total() > 0.9 * read.total()
