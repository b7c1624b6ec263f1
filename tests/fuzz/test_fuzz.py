"""A short run of the fuzzer; `make fuzz` is the long one."""

import pytest

from tests.fuzz.run import fuzz
from tests.fuzz.targets import Target, all_targets

QUICK = 100
GROUPS = ("pod", "server", "record", "canonical")


@pytest.fixture(scope="module")
def targets() -> list[Target]:
    return list(all_targets().values())


@pytest.mark.parametrize("group", GROUPS)
def test_only_typed_errors_come_out(targets: list[Target], group: str) -> None:
    for target in (target for target in targets if target.name.startswith(group)):
        assert fuzz(target, QUICK).inputs >= QUICK


def test_every_target_is_fuzzed(targets: list[Target]) -> None:
    assert {target.name.partition(" ")[0] for target in targets} == set(GROUPS)


def test_an_error_that_is_not_typed_is_found(targets: list[Target]) -> None:
    def fragile(message: bytes) -> None:
        raise KeyError(message)

    target = Target("fragile", targets[-1].inputs, fragile)
    with pytest.raises(KeyError):
        fuzz(target, QUICK)
