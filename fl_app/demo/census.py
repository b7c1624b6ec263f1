"""Lay the census demonstration out in the user's home, where its pods can have keys."""

from pathlib import Path

from fl_app.errors import UsageError
from fl_app.identity.known_pods import keygen
from fl_app.system.files import locked, replace_file

PODS = {
    "census-income-demo-dataset": "census_income_demo_dataset.py",
    "census-income-yaml-demo-dataset": "census-income-yaml-demo-dataset.yaml",
}
"""Name of each pod -> the file it is written in."""

_FEDERATION = "fl-app.toml"
_DATA = (*(f"{name}.csv.gz" for name in PODS), "adult.test.csv.gz")
_PACKAGED = Path(__file__).with_name("data")


def prepare(home: Path) -> Path:
    """Make ``home/census`` hold the demonstration as packaged, and give both pods a key; return that directory.

    Files that differ from the packaged ones are replaced, existing keys stay. It may be repeated at any time,
    also by several processes at once. A run that Flower has unpacked from a bundle has the Python files only, and
    uses the directory as it was prepared before.

    Raises
    ------
    UsageError
        If the data is not in this installation and was not prepared before, or if ``home`` cannot be written.
    """
    directory = home / "census"
    notes = [path.name for path in _PACKAGED.glob("*.md")]  # the data's attribution goes wherever the data goes
    # The federation file comes last: where it is, everything else is.
    files = [*_DATA, *notes, *PODS.values(), _FEDERATION]
    if not all((_PACKAGED / file).exists() for file in files):
        if not (directory / _FEDERATION).exists():
            raise UsageError(
                f"{directory}: the census demonstration is not there, and this run carries no data to lay it out; "
                "run `fl-app demo --prepare` once"
            )
        return directory
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(directory / ".lock"):
            for file in files:
                _copy(_PACKAGED / file, directory / file)
            for name in PODS:
                keygen(name, home)
    except OSError as error:
        raise UsageError(f"{directory}: the census demonstration cannot be laid out: {error}") from error
    return directory


def _copy(source: Path, target: Path) -> None:
    content = source.read_bytes()
    if not target.exists() or target.read_bytes() != content:
        replace_file(target, content)
