"""One value of a YAML file changes, and nothing else of the file."""

import pytest
import yaml

from client.site.yaml_edit import CannotEdit, edit

FILE = """\
# a pod
name: a   # mine
data_config:
  # never leave
  ignore_cols:
    - id  # the patient's
    - note
  force_stypes: {}
  bounds:
    age: [0, 128]  # years

    # in kilograms
    weight: [0, 256]
  optional: [x, 'y z']
# the end
policy: {minimum_cohort: 2}
"""


@pytest.mark.parametrize(
    ("path", "new", "old_line", "new_line"),
    [
        ("ignore_cols", ["id", "note", "zip"], "    - note\n", "    - note\n    - zip\n"),
        ("ignore_cols", ["note"], "    - id  # the patient's\n", ""),
        ("force_stypes/categorical", ["ward"], "force_stypes: {}", "force_stypes: {categorical: [ward]}"),
        ("bounds/age", [0, 120], "age: [0, 128]  # years", "age: [0, 120]  # years"),
        ("bounds/age", None, "    age: [0, 128]  # years\n", ""),
        ("bounds/weight", None, "    weight: [0, 256]\n", ""),
        ("bounds/height", [0, 2.5], "    age:", "    height: [0, 2.5]\n    age:"),
        ("optional", ["x"], "[x, 'y z']", "[x]"),
        ("units/weight", "kg", "  ignore_cols:", "  units: {weight: kg}\n  ignore_cols:"),
        ("bounds/on", [0, 1], "    age:", "    'on': [0, 1]\n    age:"),
    ],
)
def test_one_value_changes(path: str, new: object, old_line: str, new_line: str) -> None:
    changed = edit(FILE, ("data_config", *path.split("/")), lambda _: new)
    assert old_line in FILE
    if path != "units/weight":
        assert changed == FILE.replace(old_line, new_line, 1)
    value = yaml.safe_load(changed)["data_config"]
    for step in path.split("/"):
        value = value.get(step)
    assert value == new


def test_what_is_empty_afterwards_stays_a_list_or_a_mapping() -> None:
    text = edit(FILE, ("data_config", "ignore_cols"), lambda _: [])
    for name in ("age", "weight"):
        text = edit(text, ("data_config", "bounds", name), lambda _: None)
    config = yaml.safe_load(text)["data_config"]
    assert (config["ignore_cols"], config["bounds"]) == ([], {})
    assert text.startswith("# a pod\nname: a   # mine\ndata_config:\n  # never leave\n")
    assert text.endswith("# the end\npolicy: {minimum_cohort: 2}\n")


def test_a_file_without_the_section_gets_it_at_its_end() -> None:
    assert edit("name: a", ("data_config", "optional"), lambda _: ["x"]) == "name: a\ndata_config: {optional: [x]}\n"
    assert edit("name: a\r\n", ("b",), lambda _: 1) == "b: 1\r\nname: a\r\n"


def test_a_document_in_flow_style_is_not_changed() -> None:
    with pytest.raises(CannotEdit):
        edit("{name: a}", ("b",), lambda _: 1)
