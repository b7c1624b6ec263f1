"""A short run of the fuzzer; `make fuzz` is the long one."""

import pytest

from tests.fuzz.run import fuzz
from tests.fuzz.targets import Target, all_targets

QUICK = 100


@pytest.fixture(scope="module")
def targets() -> dict[str, Target]:
    return dict(all_targets())


NAMES = sorted(all_targets())


@pytest.mark.parametrize("name", NAMES)
def test_only_typed_errors_come_out(targets: dict[str, Target], name: str) -> None:
    assert fuzz(targets[name], QUICK).inputs >= QUICK
