"""What the owner's side of an answer shares with the policy."""

import ast
import re
from pathlib import Path

import pytest

from fl_app.pod.policy import TRAINING_LIMITS, Policy
from tests.house.source import FILES, module_name

CLIENT = [path for path in FILES if module_name(path).startswith("client.")]


@pytest.mark.parametrize("path", CLIENT, ids=module_name)
def test_a_text_names_a_term_as_the_policy_does(path: Path) -> None:
    texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
    terms = {term for text in texts if isinstance(text, str) for term in re.findall(r"\b(?:min|max)imum_[a-z_]+", text)}
    assert terms <= Policy.model_fields.keys()


def test_the_limits_on_training_are_terms_that_are_off_by_default() -> None:
    assert TRAINING_LIMITS.keys() < Policy.model_fields.keys()
    assert Policy().training_limits() == {}
    assert Policy(maximum_rounds=3, maximum_local_steps=7).training_limits() == {
        "maximum_rounds": 3,
        "maximum_local_steps": 7,
    }
