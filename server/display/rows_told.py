"""What is said of the rows a run works with: how many have which label, what is left out, what differs between pods."""

from collections.abc import Iterator

from fl_app.validation import first_of
from server.app.results import RegressionResult, Results
from server.display.words import measure, value_told

_SHOWN = 12


def rows_told(results: Results) -> Iterator[str]:
    """Yield a sentence each: the classes and their rows, rows left out, differences on the target."""
    target = results.label_counts.target if results.label_counts else "label"
    if regression := results.regression:
        yield _numbers(regression, results)
    elif counts := results.label_counts:
        shown = [f"{name} {rows:,}" for name, rows in zip(results.classes, counts.classes, strict=False)]
        told = first_of(shown, _SHOWN, "classes")
        which, noise = "rows", "the noise that hides single rows"
        if results.privacy and (deviation := results.privacy.counts_noise):
            which, noise = "training rows", f"{noise} (standard deviation {deviation:.0f})"
        yield f"{which} of all pods by {target}, give or take {noise}: {told}"
    if counts := results.label_counts:
        reasons = []
        if counts.missing:
            reasons.append(f"{counts.missing:,} without a label")
        if counts.unpublished:
            reasons.append(f"{counts.unpublished:,} with a label of fewer rows than a pod publishes")
        if reasons:
            yield f"left out of training and of figures: at least {' and '.join(reasons)}"
    yield from (f"pods differ on {text}" for text in results.schema_differences if text.startswith(f"{target}: "))
    if results.test_left_out:
        parts = [
            f"{rows:,} {f'with {target} {text!r}' if text else 'without a label'}"
            for text, rows in sorted(results.test_left_out.items(), key=lambda item: -item[1])
        ]
        yield f"left out of the public test file: {first_of(parts, _SHOWN)}"


def _numbers(regression: RegressionResult, results: Results) -> str:
    """Return how the numbers of a target are spread."""
    rows = sum(results.label_counts.classes) if results.label_counts else 0
    unit = f" {measure(regression.unit)}" if regression.unit else ""
    dates = measure(regression.unit) != regression.unit
    mean = value_told(regression.mean, regression.unit) if dates else f"{regression.mean:.4g}{unit}"
    low, high = (value_told(end, regression.unit) for end in (regression.low, regression.high))
    return (
        f"rows of all pods with a {'date' if dates else 'number'} in {regression.target}, give or take the noise that "
        f"hides single rows: {rows:,}; mean {mean}, standard deviation {regression.std:.4g}{unit}, "
        f"within {low} to {high}"
    )


def differences_told(results: Results) -> list[str]:
    """Return the differences between the pods' tables that are bridged, without those that `rows_told` names."""
    target = results.label_counts.target if results.label_counts else ""
    return [text for text in results.schema_differences if not target or not text.startswith(f"{target}: ")]
