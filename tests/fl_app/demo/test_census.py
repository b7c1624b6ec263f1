import multiprocessing
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest

import fl_app.demo
from fl_app.demo import census as prepare_module
from fl_app.demo.census import PODS, prepare
from fl_app.errors import UsageError
from fl_app.federation.kinds import census_federation
from fl_app.identity.key_file import KEY_FILE, Identity
from fl_app.identity.known_pods import Keyring, known_pods
from fl_app.pod.pod_file import load_pod
from fl_app.system.home import pod_home

PACKAGE = Path(fl_app.demo.__file__).parent / "data"
FORCED = {
    "TARGET",
    "workclass",
    "education",
    "marital-status",
    "occupation",
    "relationship",
    "race",
    "gender",
    "native-country",
}


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def _prepared(home: Path) -> dict[str, bytes]:
    return contents(prepare(home).parent)


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What Flower carries of the package: its Python files."""
    directory = tmp_path / "bundle"
    directory.mkdir()
    for path in PACKAGE.glob("*.py"):
        shutil.copy(path, directory)
    monkeypatch.setattr(prepare_module, "_PACKAGED", directory)
    return directory


def test_the_two_pods_differ_in_name_and_half_only(tmp_path: Path) -> None:
    directory = prepare(tmp_path)
    pods = [load_pod(directory / file) for file in PODS.values()]
    assert [pod.name for pod in pods] == list(PODS)
    for pod in pods:
        assert pod.datasource.path == directory / f"{pod.name}.csv.gz"
        assert pod.datasource.read_options == {"na_values": ["?"]}
        assert set(pod.approved_pods) == set(PODS)
        assert pod.data_config.ignore_cols == ("fnlwgt",)
        assert set(pod.data_config.force_stypes["categorical"]) == FORCED
        assert pod.policy.minimum_cohort == 2
        assert pod.policy.require_secure_aggregation


def test_the_data_has_the_columns_the_pods_speak_of(tmp_path: Path) -> None:
    federation = census_federation(tmp_path)
    assert federation.test_file is not None
    sources = [(pod.datasource.path, pod.datasource.read_options) for pod in map(load_pod, federation.pods)]
    for path, options in [*sources, (federation.test_file, federation.test_read_options)]:
        frame = pd.read_csv(path, nrows=200, **options)
        assert set(frame.columns) >= FORCED | {"fnlwgt", "age"}
        assert not frame.isin(["?"]).any(axis=None)
        assert frame["workclass"].isna().any()
        assert set(frame["TARGET"]) == {"<=50K", ">50K"}


def test_both_pods_have_keys_and_know_each_other(tmp_path: Path) -> None:
    prepare(tmp_path)
    keys = {name: Identity.load(pod_home(name, tmp_path)).public_bytes for name in PODS}
    assert dict(Keyring.load(known_pods(tmp_path)).items()) == keys
    assert len(set(keys.values())) == 2


def test_the_datas_attribution_goes_with_it(tmp_path: Path) -> None:
    notes = list(prepare(tmp_path).glob("*.md"))
    assert any("CC BY 4.0" in note.read_text("utf-8") for note in notes)


def test_again_changes_nothing(tmp_path: Path) -> None:
    directory = prepare(tmp_path)
    before = contents(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in directory.iterdir()}
    assert prepare(tmp_path) == directory == tmp_path / "census"
    assert contents(tmp_path) == before
    assert {path: path.stat().st_mtime_ns for path in directory.iterdir()} == times


def test_what_is_missing_or_changed_is_mended_and_keys_are_kept(tmp_path: Path) -> None:
    directory = prepare(tmp_path)
    before = contents(tmp_path)
    (directory / "fl-app.toml").write_text("changed")
    (directory / "adult.test.csv.gz").unlink()
    (pod_home("census-income-demo-dataset", tmp_path) / "ledger.db").write_bytes(b"kept")
    prepare(tmp_path)
    after = contents(tmp_path)
    assert after.pop("pods/census-income-demo-dataset/ledger.db") == b"kept"
    assert after == before


def test_many_processes_at_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        found = pool.map(_prepared, [tmp_path] * 8, chunksize=1)
    final = contents(tmp_path)
    assert not [name for name in final if name.endswith(".tmp")]
    assert sorted(final) == sorted(contents_expected())
    for seen in found:
        assert {name: seen[name] for name in final} == final


def contents_expected() -> list[str]:
    files = [path.name for suffix in ("csv.gz", "md") for path in PACKAGE.glob(f"*.{suffix}")]
    files += [*PODS.values(), "fl-app.toml", ".lock"]
    return [
        *(f"census/{file}" for file in files),
        *(f"pods/{name}/{KEY_FILE}" for name in PODS),
        "known_pods",
        ".known_pods.lock",
    ]


def test_a_bundle_uses_what_was_prepared(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="run `fl-app demo --prepare` once"):
        prepare(tmp_path / "home")
    assert not (tmp_path / "home").exists()
    with monkeypatch.context() as installed:
        installed.setattr(prepare_module, "_PACKAGED", PACKAGE)
        prepare(tmp_path / "home")
    before = contents(tmp_path / "home")
    assert prepare(tmp_path / "home") == tmp_path / "home/census"
    assert contents(tmp_path / "home") == before
    assert census_federation(tmp_path / "home").name == "census"


def test_a_half_finished_preparation_does_not_count(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "home/census").mkdir(parents=True)
    (tmp_path / "home/census/adult.test.csv.gz").write_bytes(b"")
    with pytest.raises(UsageError, match="run `fl-app demo --prepare` once"):
        prepare(tmp_path / "home")


def test_a_home_that_is_a_file_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(UsageError, match="cannot be laid out"):
        prepare(tmp_path / "home")


def test_it_works_from_an_installed_copy_in_an_empty_directory(tmp_path: Path) -> None:
    """Copied as a wheel would install it: Python files, and beside them the package data that pyproject names."""
    site, root = tmp_path / "site", PACKAGE.parents[2]
    patterns = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]
    for package in ("fl_app", "client"):
        for path in (root / package).rglob("*.py"):
            (site / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, site / path.relative_to(root))
    (site / "fl_app/demo/data").mkdir(exist_ok=True)
    for pattern in patterns["fl_app.demo"]:
        for path in PACKAGE.parent.glob(pattern):
            shutil.copy(path, site / "fl_app/demo/data")
    (tmp_path / "empty").mkdir()
    program = (
        "from pathlib import Path; import fl_app; from fl_app.federation.kinds import find_federation\n"
        "print(fl_app.__file__, find_federation(None, Path()).home)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path / "empty",
        env={**os.environ, "PYTHONPATH": str(site), "FL_APP_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.split() == [str(site / "fl_app/__init__.py"), str(tmp_path / "home")]
    assert list((tmp_path / "empty").iterdir()) == []
