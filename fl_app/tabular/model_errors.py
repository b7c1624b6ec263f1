"""What is said of a model file, or of what is asked of it, that will not do; whatever reads or runs the file."""

from pathlib import Path

from fl_app.errors import DataError, UsageError
from fl_app.tabular.encoding import Encoding


def check_kind(encoding: Encoding, *, numeric: bool) -> None:
    """Raise `UsageError`, saying what to call instead, unless a model's target is a number, or has classes."""
    if numeric and encoding.numeric is None:
        raise UsageError(f"the model tells classes of {encoding.target.name!r} apart: use predict_proba")
    if encoding.numeric and not numeric:
        raise UsageError(f"the model's target {encoding.target.name!r} is a number: use predict")


def not_a_model(path: Path, error: Exception) -> DataError:
    """Return what to say of a model file that could not be opened.

    Unpicklers and unpackers raise errors of many kinds for a file that is not theirs, which tell a user nothing.
    """
    if isinstance(error, OSError):
        return DataError(f"{path}: cannot be read: {error.strerror or error}")
    return DataError(
        f"{path} is no {path.suffix} model file ({type(error).__name__}): give one that `fl-app export` or a run has "
        "written, and has written whole"
    )
