"""The pod owner's page lists the terms of the policy as the code has them."""

from fl_app import Policy
from scripts.policy_table import END, HEAD, PAGE, page, table


def test_the_table_of_terms_is_current() -> None:
    text = PAGE.read_text()
    assert text.count(HEAD) == text.count(END) == 1
    assert page(text) == text, "run `make counts`"


def test_the_table_has_every_term_with_its_default_and_bound() -> None:
    rows = {row.split("`")[1]: row for row in table().splitlines()[2:]}
    assert rows.keys() == Policy.model_fields.keys()
    assert rows["minimum_cohort"].startswith("| `minimum_cohort` | `3` | 2 | fewest pods")
    assert "| `false` |" in rows["exact_cohort"]
    assert "| none | 2 |" in rows["minimum_threshold"]
    assert "| `200` | 0 |" in rows["maximum_runs_per_day"]
