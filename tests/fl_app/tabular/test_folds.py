import pytest

from fl_app.errors import UsageError
from fl_app.tabular.folds import FOLD_COUNTS, TENTHS, Fold


@pytest.mark.parametrize("of", FOLD_COUNTS)
def test_folds_are_made_of_tenths_and_the_tenth_before_each_validates(of: int) -> None:
    folds = [Fold(number=number, of=of) for number in range(1, of + 1)]
    assert sorted(place for fold in folds for place in fold.tenths) == list(range(TENTHS))
    for fold in folds:
        assert fold.validation not in fold.tenths
        assert (fold.validation + 1) % TENTHS == fold.tenths[0]
        assert Fold.from_text(str(fold)) == fold


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("3", "expected a text such as 2/5"),
        ("a/5", "expected a text such as 2/5"),
        ("0/5", "number"),
        ("6/5", "of 5 folds there is none of number 6"),
        ("1/3", "folds: should be one of 2, 5, 10, not 3"),
    ],
)
def test_what_is_no_fold(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Fold.from_text(text)
