"""The files that GitHub and pre-commit read: they keep to their schemas, and call make targets that exist."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from tests.house.source import ROOT

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = [GITHUB / "ISSUE_TEMPLATE" / "bug.yml", GITHUB / "ISSUE_TEMPLATE" / "feature.yml"]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
TEST = re.findall(r"^test:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
TARGETS = dict(re.findall(r"^([a-z-]+):([^#=\n]*)", MAKEFILE, re.MULTILINE))
HOOKS: list[dict[str, Any]] = [
    hook
    for repository in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    for hook in repository["hooks"]
]


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", WORKFLOWS),
        ("custom.github-workflows-require-timeout", WORKFLOWS),
        ("vendor.github-issue-forms", FORMS),
        ("vendor.github-issue-config", [GITHUB / "ISSUE_TEMPLATE" / "config.yml"]),
        ("vendor.citation-file-format", [ROOT / "CITATION.cff"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_keep_to_their_schemas(schema: str, files: list[Path]) -> None:
    from check_jsonschema import main  # slow to import

    done = CliRunner().invoke(main, ["--builtin-schema", schema, *map(str, files)])
    assert files
    assert done.exit_code == 0, done.output
    assert "ok" in done.output


def commands(workflow: Path) -> list[str]:
    """The commands of a workflow, with every value of a matrix put in."""
    lines = []
    for job in yaml.safe_load(workflow.read_text("utf-8"))["jobs"].values():
        matrix = job.get("strategy", {}).get("matrix", {}).get("target", [""])
        texts = [step["run"] for step in job["steps"] if "run" in step]
        lines += [text.replace("${{ matrix.target }}", target) for text in texts for target in matrix]
    return lines


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_call_make_targets_that_exist(workflow: Path) -> None:
    targets = {word for line in commands(workflow) if line.startswith("make ") for word in line.split()[1:]}
    assert targets
    assert targets <= TARGETS.keys()


def test_ci_runs_what_make_test_runs() -> None:
    called = {line.removeprefix("make ") for line in commands(GITHUB / "workflows" / "ci.yml")}
    (recipe,) = TEST
    assert called == set(recipe.split()) & TARGETS.keys()
    assert "make test" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_every_night_runs_what_takes_too_long_for_a_push() -> None:
    assert {"make fuzz", "make faults"} <= set(commands(GITHUB / "workflows" / "nightly.yml"))


def test_workflows_may_only_read_unless_a_job_says_otherwise() -> None:
    for workflow in WORKFLOWS:
        assert yaml.safe_load(workflow.read_text("utf-8"))["permissions"] == {"contents": "read"}


def test_every_target_is_phony_or_a_file() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    assert set(phony.split()) == TARGETS.keys()


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_hooks_run_programs_that_are_there(hook: dict[str, Any]) -> None:
    assert {"id", "name", "entry", "language"} <= hook.keys()
    assert hook["language"] == "system"
    program, *arguments = hook["entry"].split()
    if program == "make":
        assert set(arguments) <= TARGETS.keys()
    else:
        assert program.startswith(".venv/bin/")
        assert (Path(sys.executable).parent / Path(program).name).exists()
    for word in arguments:
        if word.endswith(".py"):
            assert (ROOT / word).is_file()


def test_the_hooks_are_those_of_lint_and_types() -> None:
    assert {"ruff check", "ruff format", "mypy"} <= {hook["name"] for hook in HOOKS}
    assert "ruff check ." in MAKEFILE
    assert "ruff format --check ." in MAKEFILE


def test_the_pull_request_form_names_files_that_exist() -> None:
    text = (GITHUB / "PULL_REQUEST_TEMPLATE.md").read_text("utf-8")
    for name in re.findall(r"[\w/.-]+\.md", text):
        assert (ROOT / name).is_file(), name
    assert {target for _, target in re.findall(r"(`make )([a-z-]+)`", text)} <= TARGETS.keys()
