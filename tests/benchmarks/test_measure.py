from benchmarks.measure import Contender, race


def test_every_contender_is_run_as_often_as_the_others_and_in_turn() -> None:
    seen: list[str] = []
    contenders = [Contender(name, lambda name=name: seen.append(name)) for name in "ab"]  # type: ignore[misc]
    measured = list(race("x", 1, 10, contenders, 4))
    assert "".join(seen) == "ab" * 5
    assert [m.by for m in measured] == ["a", "b"]
    assert all(m.least <= m.median <= m.most for m in measured)
