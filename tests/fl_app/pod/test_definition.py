import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fl_app.errors import UsageError
from fl_app.pod.definition import CSVSource, ParquetSource, Pod, PodDataConfig, PodDetailsConfig, Policy
from fl_app.pod.pod_file import dump_pod, load_pod
from fl_app.system.home import fl_app_home, is_pod_name, pod_home

FULL = """\
name: hospital-a
datasource: CSVSource
datasource_args:
  path: data/patients.csv
  read_options: {sep: ";", decimal: ",", na_values: ["?"]}
pod_details_config:
  display_name: Hospital A
  description: Patients of one ward
data_config:
  ignore_cols: [weight]
  force_stypes:
    categorical: [ward]
    continuous: [age]
  bounds:
    age: [0, 128]
  optional: [remark]
approved_pods: [hospital-b, hospital-c]
policy:
  minimum_cohort: 2
  exact_cohort: true
"""

names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)
# Control characters cannot stand in YAML, surrogates not in UTF-8.
words = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=12)
columns = st.lists(words, max_size=3).map(tuple)


@st.composite
def pods(draw: st.DrawFn) -> Pod:
    path = Path("/data") / draw(st.from_regex(r"[a-z]{1,8}\.(csv|csv\.gz)", fullmatch=True))
    separator = draw(st.sampled_from([";", "\t", "|"]))
    sources: list[CSVSource | ParquetSource] = [
        CSVSource(path),
        CSVSource(path, read_options={"sep": separator, "header": None}),
        ParquetSource(path, read_options={"columns": draw(st.lists(words))}),
    ]
    source = draw(st.sampled_from(sources))
    categorical, continuous = set(draw(columns)), set(draw(columns))
    bound = st.floats(-1e12, 1e12)
    bounds = draw(st.dictionaries(words, st.tuples(bound, bound).filter(lambda pair: pair[0] < pair[1]), max_size=2))
    return Pod(
        name=draw(names),
        datasource=source,
        pod_details_config=PodDetailsConfig(display_name=draw(words), description=draw(words)),
        data_config=PodDataConfig(
            ignore_cols=draw(columns),
            force_stypes={
                "categorical": sorted(categorical - continuous - bounds.keys()),
                "continuous": sorted(continuous),
            },
            bounds=bounds,
            optional=draw(columns),
            validation_percent=draw(st.integers(1, 40)),
            test_percent=draw(st.integers(0, 40)),
        ),
        approved_pods=draw(st.lists(names, max_size=3)),
        policy=Policy(
            minimum_cohort=draw(st.integers(2, 99)),
            exact_cohort=draw(st.booleans()),
            minimum_threshold=draw(st.none() | st.integers(2, 99)),
            minimum_rows_per_class=draw(st.integers(0, 99)),
        ),
    )


def write(directory: Path, text: str, name: str = "pod.yaml") -> Path:
    path = directory / name
    path.write_text(text, "utf-8")
    return path


def refused(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        load_pod(path)
    return str(caught.value)


def test_every_field_of_a_yaml_pod_arrives(tmp_path: Path) -> None:
    assert load_pod(write(tmp_path, FULL)) == Pod(
        name="hospital-a",
        datasource=CSVSource(
            tmp_path / "data/patients.csv", read_options={"sep": ";", "decimal": ",", "na_values": ["?"]}
        ),
        pod_details_config=PodDetailsConfig(display_name="Hospital A", description="Patients of one ward"),
        data_config=PodDataConfig(
            ignore_cols=["weight"],
            force_stypes={"categorical": ["ward"], "continuous": ["age"]},
            bounds={"age": (0, 128)},
            optional=["remark"],
        ),
        approved_pods=["hospital-b", "hospital-c"],
        policy=Policy(minimum_cohort=2, exact_cohort=True),
    )


def test_the_default_policy_is_the_careful_one() -> None:
    assert Policy().model_dump() == {
        "minimum_cohort": 3,
        "exact_cohort": False,
        "require_secure_aggregation": True,
        "minimum_threshold": None,
        "maximum_membership_changes": 3,
        "minimum_rows_per_class": 0,
        "minimum_evaluation_rows": 5,
        "evaluation_groups": (),
        "evaluation_importance": True,
        "minimum_category_count": 10,
        "minimum_bin_rows": 5,
        "minimum_batch_rows": 32,
        "maximum_rounds": 1000,
        "maximum_local_epochs": 100,
        "maximum_local_steps": 100_000,
        "maximum_folds": 10,
        "maximum_parameters": 20_000_000,
        "maximum_runs_per_day": 200,
        "maximum_rounds_per_day": 20_000,
        "maximum_failed_steps_per_day": 20,
        "epsilon": None,
        "delta": 1e-5,
        "honest_pods": None,
    }


def test_a_budget_is_written_as_numbers_are(tmp_path: Path) -> None:
    head = "name: a\ndatasource: CSVSource\ndatasource_args: {path: x.csv}\n"
    policy = load_pod(write(tmp_path, head + "policy: {epsilon: 3, delta: 1e-6, honest_pods: 2}\n")).policy
    assert (policy.epsilon, policy.delta, policy.relies_on) == (3.0, 1e-6, 2)


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ("epsilon: 0", "policy.epsilon"),
        ("epsilon: -1", "policy.epsilon"),
        ("epsilon: .inf", "policy.epsilon"),
        ("epsilon: .nan", "policy.epsilon"),
        ("epsilon: much", "policy.epsilon"),
        ("epsilon: true", "policy.epsilon"),
        ("delta: 0", "policy.delta"),
        ("delta: 1", "policy.delta"),
        ("delta: null", "policy.delta"),
        ("honest_pods: 0", "policy.honest_pods"),
        ("honest_pods: 4", "at most minimum_cohort, 3"),
    ],
)
def test_a_budget_that_is_none_is_refused(tmp_path: Path, terms: str, said: str) -> None:
    text = f"name: a\ndatasource: CSVSource\ndatasource_args: {{path: x.csv}}\npolicy: {{{terms}}}\n"
    assert said in refused(write(tmp_path, text))


def test_an_owner_relies_on_all_pods_but_one_unless_they_say_otherwise() -> None:
    assert [Policy(minimum_cohort=pods).relies_on for pods in (2, 3, 10)] == [1, 2, 9]
    assert Policy(minimum_cohort=3, honest_pods=3).relies_on == 3


def test_null_lifts_a_limit(tmp_path: Path) -> None:
    text = "name: a\ndatasource: CSVSource\ndatasource_args: {path: x.csv}\npolicy: {maximum_rounds: null}\n"
    assert load_pod(write(tmp_path, text)).policy.maximum_rounds is None


def test_the_same_pod_in_python_and_yaml_is_equal(tmp_path: Path) -> None:
    python = write(
        tmp_path,
        "from fl_app.pod.definition import CSVSource, Pod\n"
        'pod = Pod(name="a", datasource=CSVSource("x.csv"), approved_pods=["b"])\n'
        'if __name__ == "__main__":\n'
        "    pod.start()\n",
        "pod.py",
    )
    yaml = write(tmp_path, "name: a\ndatasource: CSVSource\ndatasource_args: {path: x.csv}\napproved_pods: [b]\n")
    assert load_pod(python) == load_pod(yaml)
    assert load_pod(python).datasource.path == tmp_path / "x.csv"


def test_parquet_and_kind(tmp_path: Path) -> None:
    pod = load_pod(write(tmp_path, "name: a\ndatasource: ParquetSource\ndatasource_args: {path: x.parquet}\n"))
    assert isinstance(pod.datasource, ParquetSource)
    assert (pod.datasource.kind, pod.datasource.read_options) == ("parquet", {})
    assert CSVSource("x.csv").kind == "csv"


def test_older_spellings_are_accepted(tmp_path: Path) -> None:
    older = FULL.replace("approved_pods", "other_pods").replace(
        "    categorical: [ward]\n    continuous: [age]\n",
        "    hospital-a:\n      categorical: [ward]\n      continuous: [age]\n",
    )
    assert load_pod(write(tmp_path, older)) == load_pod(write(tmp_path, FULL, "newer.yaml"))


def test_a_home_directory_in_a_path_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    pod = load_pod(write(tmp_path, 'name: a\ndatasource: CSVSource\ndatasource_args: {path: "~/x.csv"}\n'))
    assert pod.datasource.path == tmp_path / "me/x.csv"


@given(pods())
def test_dumped_pods_load_back_equal(tmp_path_factory: pytest.TempPathFactory, pod: Pod) -> None:
    assert load_pod(write(tmp_path_factory.mktemp("pods"), dump_pod(pod))) == pod


def test_a_dumped_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = dump_pod(Pod(name="a", datasource=CSVSource("x.csv")))
    (tmp_path / "elsewhere").mkdir()
    assert load_pod(write(tmp_path / "elsewhere", text)).datasource.path == tmp_path / "x.csv"


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "text"),
    [
        ("minimum_cohort: 2", "minimum_chort: 2", 19, "policy.minimum_chort", "did you mean 'minimum_cohort'"),
        ("minimum_cohort: 2", "minimum_cohort: 1", 19, "policy.minimum_cohort", "greater than or equal to 2, not 1"),
        ("minimum_cohort: 2", 'minimum_cohort: "2"', 19, "policy.minimum_cohort", "valid integer, not '2'"),
        ("exact_cohort: true", "exact_cohort: 1", 20, "policy.exact_cohort", "valid boolean, not 1"),
        ("ignore_cols: [weight]", "ignore_cols: weight", 10, "data_config.ignore_cols", "list, not 'weight'"),
        ("categorical: [ward]", "categories: [ward]", 12, "data_config.force_stypes.categories", "allowed: categ"),
        ("categorical: [ward]", "categorical: [age]", 9, "data_config", "'age' is forced to be both"),
        ("age: [0, 128]", "ward: [0, 128]", 9, "data_config", "'ward' has bounds but is forced"),
        ("age: [0, 128]", "age: [128, 0]", 14, "data_config.bounds", "'age' must be [low, high]"),
        ("age: [0, 128]", "age: [0, .inf]", 15, "data_config.bounds.age[1]", "finite number"),
        ("[hospital-b, hospital-c]", "[Hospital B]", 17, "approved_pods[0]", "lowercase letters"),
        ("approved_pods: [hosp", "other_pods: [Hosp", 17, "other_pods[0]", "lowercase letters"),
        ("name: hospital-a", "name: ..", 1, "name", "the first a letter or digit, not '..'"),
        ("name: hospital-a", "nam: hospital-a", 1, "nam", "did you mean 'name'"),
        ("datasource: CSVSource", "datasource: CSVsource", 2, "datasource", "did you mean 'CSVSource'"),
        ("datasource: CSVSource", "datasource:", 2, "datasource", "required, but missing"),
        ("path: data/patients.csv", "file: x.csv", 3, "datasource_args.path", "required, but missing"),
        ("data/patients.csv", "https://example.org/a.csv", 4, "datasource_args.path", "not an address"),
        ('sep: ";"', 'separ: ";"', 5, "datasource_args.read_options.separ", "did you mean 'sep'"),
        ('sep: ";"', "engine: python", 5, "datasource_args.read_options.engine", "unknown key"),
        ('sep: ";"', "encoding: utf-99", 5, "datasource_args.read_options.encoding", "latin-1"),
        ('sep: ";"', "sep: '::'", 5, "datasource_args.read_options.sep", "at most 1 character"),
    ],
)
def test_a_wrong_yaml_pod_says_which_key_which_line_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, line: int, key: str, text: str
) -> None:
    assert old in FULL
    path = write(tmp_path, FULL.replace(old, new, 1))
    said = refused(path)
    assert said.startswith(f"{path}: ")
    assert re.search(rf"line {line}: {re.escape(key)}: [^\n]*{re.escape(text)}", said), said


def test_all_problems_are_listed_in_the_order_of_their_lines(tmp_path: Path) -> None:
    wrong = FULL.replace("ignore_cols", "ignored").replace("path:", "pth:").replace("exact_cohort: true", "x: 1")
    lines = refused(write(tmp_path, wrong)).splitlines()
    assert lines[0].endswith("4 problems")
    assert [int(line.split()[1].rstrip(":")) for line in lines[1:]] == [3, 4, 10, 20]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "keys and values"),
        ("- name", "keys and values"),
        ("name: a\nname: b\n", "line 2: key 'name' is given twice"),
        ("name: [a\n", "line 2: "),
        ("name: a\n  b: c\n", "line 2: "),
        ("name: 2024-99-99\n", "not YAML"),
        ("name: !!python/object/apply:os.getcwd []\n", "line 1: "),
        ("[" * 5000, "not YAML"),
        ("approved_pods: [a]\nother_pods: [a]\n", "line 2: other_pods: the older name of approved_pods"),
        ("datasource: CSVSource\ndatasource_args: {1: 2}\n", "datasource_args.1: unknown key"),
        ("datasource: CSVSource\ndatasource_args: [1]\n", "line 2: datasource_args: "),
        ("datasource: {CSVSource: x}\n", "line 1: datasource: unknown datasource"),
    ],
)
def test_what_is_hardly_a_pod_file_is_refused_too(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(write(tmp_path, text))


@settings(max_examples=200)
@given(st.text(max_size=60) | st.text("abn: \n-[]{}&*!'\"<.1", max_size=60))
def test_any_text_is_a_pod_or_a_usage_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UsageError):
        load_pod(path)


@pytest.mark.parametrize("name", ["pod.txt", "pod", "pod.yaml", "pod.py"])
def test_missing_and_foreign_files(tmp_path: Path, name: str) -> None:
    assert str(tmp_path / name) in refused(tmp_path / name)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("pod = Pod(\n", "line 2: not Python"),
        ("x = 1\n", "exactly one Pod in a variable of the module, found none"),
        ("a = Pod(name='a', datasource=CSVSource('x'))\nb = Pod(name='b', datasource=CSVSource('x'))\n", "found a, b"),
        ("p = Policy(minimum_chort=2)\n", "line 2: minimum_chort: unknown key, did you mean 'minimum_cohort'"),
        ("\np = Pod(name='A', datasource=CSVSource('x'))\n", "line 3: name: a pod's name"),
        ("p = Pod(name='a', datasource=CSVSource('x', read_options={'spe': ''}))\n", "line 2: read_options.spe: "),
        ("p = 1 / 0\n", "line 2: stopped with ZeroDivisionError"),
        ("raise SystemExit(3)\n", "line 2: stopped with SystemExit: 3"),
        ("p = Pod(name='a', datasource=CSVSource('x'))\np.start()\n", "line 3: put pod.start() under `if __name__"),
    ],
)
def test_a_wrong_python_pod_says_where(tmp_path: Path, body: str, said: str) -> None:
    path = write(tmp_path, f"from fl_app.pod.definition import CSVSource, Pod, Policy\n{body}", "pod.py")
    text = refused(path)
    assert text.startswith(str(path))
    assert said in text


def test_one_pod_under_two_names_is_one_pod(tmp_path: Path) -> None:
    text = "from fl_app.pod.definition import *\na = b = Pod(name='a', datasource=CSVSource('x'))\n"
    assert load_pod(write(tmp_path, text, "pod.py")).name == "a"


def test_start_serves_the_pod_with_absolute_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Pod] = []
    monkeypatch.setattr("client.site.serve_pod.start", started.append)
    Pod(name="a", datasource=CSVSource("x.csv")).start()
    assert [pod.datasource.path for pod in started] == [Path(__file__).parent / "x.csv"]


def test_a_python_pod_run_as_a_script_starts(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "import client.site.serve_pod\n"
        "import fl_app.pod.definition as pods\n"
        "client.site.serve_pod.start = lambda pod: print('started', pod.datasource.path)\n"
        "pod = pods.Pod(name='a', datasource=pods.CSVSource('x.csv'))\n"
        "if __name__ == '__main__':\n"
        "    pod.start()\n",
        "pod.py",
    )
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["started", str(tmp_path / "x.csv")]


def test_definitions_are_frozen() -> None:
    pod = Pod(name="a", datasource=CSVSource("x.csv"), approved_pods=["b"])
    for model, field in ((pod, "name"), (pod.policy, "minimum_cohort"), (pod.datasource, "path")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(model, field, 3)
    assert pod.approved_pods == ("b",)


@pytest.mark.parametrize("given_path", [("x.csv",), ()])
def test_a_path_may_be_given_by_place_or_by_name(given_path: tuple[str, ...]) -> None:
    named: dict[str, Any] = {} if given_path else {"path": "x.csv"}
    assert CSVSource(*given_path, **named).path == Path("x.csv")


@given(st.text(max_size=80) | names)
def test_pod_names_make_one_directory_right_below_pods(name: str) -> None:
    home = Path("/home/owner")
    if is_pod_name(name):
        assert Path(os.path.normpath(pod_home(name, home))).parent == home / "pods"
    else:
        with pytest.raises(UsageError, match="1 to 64 lowercase"):
            pod_home(name, home)


@pytest.mark.parametrize(
    ("name", "good"), [("a", True), ("a" * 64, True), ("a" * 65, False), ("", False), ("a\n", False), ("é", False)]
)
def test_pod_name_edges(name: str, good: bool) -> None:
    assert is_pod_name(name) is good


def test_home_is_the_variable_or_a_dot_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FL_APP_HOME", "")
    assert fl_app_home() == tmp_path / ".fl-app"
    monkeypatch.setenv("FL_APP_HOME", "~/keys")
    assert fl_app_home() == tmp_path / "keys"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FL_APP_HOME", "here")
    assert pod_home("a") == tmp_path / "here/pods/a"
    assert not fl_app_home().exists()


def test_an_unreadable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, FULL)

    def forbidden(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    assert refused(path) == f"{path}: cannot be read: Permission denied"
