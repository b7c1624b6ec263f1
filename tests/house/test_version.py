"""The version is edited in one place: pyproject.toml's ``[project]``."""

import re
import tomllib
from importlib.metadata import version

import pytest
from packaging.version import Version

from fl_app.host.bundle import PYPROJECT
from scripts.keep_version import COPIES, project_version, with_version
from tests.house.source import ROOT


@pytest.mark.parametrize("file", COPIES)
def test_every_file_that_names_the_version_names_this_one(file: str) -> None:
    assert with_version(file, project_version()) == (ROOT / file).read_text("utf-8"), "run `make version`"


@pytest.mark.parametrize("file", COPIES)
def test_another_version_would_be_written(file: str) -> None:
    text = with_version(file, "9.8.7")
    assert "9.8.7" in text
    if file == "pyproject.toml":
        assert tomllib.loads(text)["project"]["version"] == project_version()


def test_the_version_is_spelt_as_installers_spell_it() -> None:
    assert str(Version(project_version())) == project_version()


def test_the_bundle_takes_the_version_that_is_installed() -> None:
    assert version("fl-app") == project_version(), "the environment is out of date: run `make setup`"
    assert set(re.findall(r'^version = "(.+)"$', PYPROJECT, re.MULTILINE)) == {project_version()}
    source = (ROOT / "fl_app" / "host" / "bundle.py").read_text("utf-8")
    assert project_version() not in source
