"""Copy the version of pyproject.toml's ``[project]`` to the other files that must name it.

Edit the version in pyproject.toml only, then run ``make version``. A test compares.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).resolve().parents[1]

COPIES: Mapping[str, str] = MappingProxyType(
    {
        # Flower's uv wants a version for an app that lies in a directory.
        "pyproject.toml": r'(?<=\[\[tool\.uv\.dependency-metadata\]\]\nname = "fl-app"\nversion = ")[^"]+',
        "CITATION.cff": r"(?<=^version: ).+",
        "deploy/compose.yaml": r"(?<=^    image: fl-app:).+",
    }
)
"""Where the version stands besides, as a regular expression for each file."""


def project_version() -> str:
    """Return the version that people edit."""
    version: str = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    return version


def with_version(file: str, version: str) -> str:
    """Return the text of ``file`` with ``version`` in it.

    Raises
    ------
    ValueError
        If the file names no version.
    """
    text = (ROOT / file).read_text("utf-8")
    changed, places = re.subn(COPIES[file], version, text, flags=re.MULTILINE)
    if not places:
        raise ValueError(f"{file} names no version where {COPIES[file]!r} expects one")
    return changed


def main() -> None:
    """Write the version into every file that names it."""
    for file in COPIES:
        (ROOT / file).write_text(with_version(file, project_version()), "utf-8")


if __name__ == "__main__":
    main()
