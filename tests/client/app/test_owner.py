"""What the owner's side of an answer shares with the policy."""

import ast
import re
from pathlib import Path

import pytest

from client.app.owner import owner_of
from fl_app.identity.key_file import Identity
from fl_app.pod.policy import TRAINING_LIMITS, Policy
from fl_app.secagg.errors import PolicyRefused
from fl_app.system.home import pod_home
from tests.house.source import FILES, module_name

CLIENT = [path for path in FILES if module_name(path).startswith("client.")]


@pytest.mark.parametrize("path", CLIENT, ids=module_name)
def test_a_text_names_a_term_as_the_policy_does(path: Path) -> None:
    texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
    terms = {term for text in texts if isinstance(text, str) for term in re.findall(r"\b(?:min|max)imum_[a-z_]+", text)}
    assert terms <= Policy.model_fields.keys()


def test_the_limits_on_training_are_terms_that_an_owner_may_lift() -> None:
    assert Policy().training_limits().keys() == TRAINING_LIMITS.keys()
    assert TRAINING_LIMITS.keys() < Policy.model_fields.keys()
    assert Policy(maximum_rounds=3, maximum_local_steps=7, maximum_local_epochs=None).training_limits() == {
        "maximum_rounds": 3,
        "maximum_local_steps": 7,
        "maximum_folds": 10,
    }


def test_an_owners_ledger_keeps_to_the_limits_of_a_day(tmp_path: Path) -> None:
    Identity.create(pod_home("a", tmp_path))
    terms = Policy(maximum_runs_per_day=1, maximum_rounds_per_day=2, maximum_failed_steps_per_day=1)
    ledger = owner_of("a", [], terms, home=tmp_path).ledger
    ledger.enter_session("1", b"", b"")
    with pytest.raises(PolicyRefused, match="maximum_runs_per_day"):
        ledger.enter_session("2", b"", b"")
    for round in (1, 2):
        ledger.enter_answer("1", "train", round, b"", ledger.enter_begin("1", "train", round, b"", b""))
    with pytest.raises(PolicyRefused, match="maximum_rounds_per_day"):
        ledger.enter_begin("1", "train", 3, b"", b"")
    ledger.enter_begin("1", "evaluate", 1, b"", b"")
    ledger.enter("1", "failure", "evaluate", round=1)
    with pytest.raises(PolicyRefused, match="maximum_failed_steps_per_day"):
        ledger.enter_begin("1", "statistics", 1, b"", b"")
