"""What a modeller still reads with settings that any modeller may give: SECURITY.md says that it is not stopped."""

from pathlib import Path

from tests.adversary.hostile.few_columns import counts_of_pairs
from tests.adversary.hostile.tables import census


def test_an_evaluation_over_two_columns_counts_rows_by_both_and_the_label(tmp_path: Path) -> None:
    pods = census(tmp_path)
    read = counts_of_pairs(pods)
    true = pods.pooled("validation").groupby(["age", "sex", "income"]).size().to_dict()
    right = {triple: count for triple, count in read.items() if count == true.get(triple, 0)}
    assert len(right) > 0.9 * len(read) > 50  # 112 of 112
    assert sum(count == 1 for count in right.values()) >= 5  # 20 rows, each alone with its age, sex and label
