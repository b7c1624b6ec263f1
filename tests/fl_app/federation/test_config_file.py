from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fl_app.errors import UsageError
from fl_app.federation.kinds import (
    DeployedFederation,
    Federation,
    SimulatedFederation,
    census_federation,
    find_federation,
    read_federation,
)

TWO = """\
default = "demo"

[federation.demo]
kind = "simulation"
pods = ["pods/a.yaml", "../b.py"]
home = ".fl-app"
test_file = "test.csv"
test_target = "income"
test_read_options = { sep = ";" }

[federation.hospitals]
kind = "deployment"
superlink = "fl.example.org:8123"
root_certificates = "ca.pem"
pods = ["hospital-a", "hospital-b"]
"""


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FL_APP_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("FL_APP_FEDERATION", raising=False)
    return tmp_path / "home"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "fl-app.toml").write_text(TWO)
    return directory


def deployment(directory: Path, settings: str) -> Federation:
    path = directory / "x.toml"
    path.write_text(f'[federation.x]\nkind = "deployment"\n{settings}\n')
    return read_federation(path)


def test_a_simulation_has_absolute_paths(project: Path) -> None:
    assert read_federation(project / "fl-app.toml", "demo") == SimulatedFederation(
        name="demo",
        source=f"{project / 'fl-app.toml'}#demo",
        kind="simulation",
        pods=(project / "pods/a.yaml", project.parent / "b.py"),
        home=project / ".fl-app",
        test_file=project / "test.csv",
        test_target="income",
        test_read_options={"sep": ";"},
    )


def test_a_deployment(project: Path) -> None:
    assert read_federation(project / "fl-app.toml", "hospitals") == DeployedFederation(
        name="hospitals",
        source=f"{project / 'fl-app.toml'}#hospitals",
        kind="deployment",
        superlink="fl.example.org:8123",
        root_certificates=project / "ca.pem",
        pods=("hospital-a", "hospital-b"),
    )


def test_without_a_home_keys_are_the_owners_own(project: Path, own_home: Path) -> None:
    (project / "fl-app.toml").write_text(TWO.replace('home = ".fl-app"\n', ""))
    federation = find_federation(None, project)
    assert isinstance(federation, SimulatedFederation)
    assert federation.home == own_home


def test_the_argument_wins_over_the_variable_and_the_variable_over_the_default(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_federation(None, project).name == "demo"
    monkeypatch.setenv("FL_APP_FEDERATION", "hospitals")
    assert find_federation(None, project).name == "hospitals"
    assert find_federation("demo", project).name == "demo"


@pytest.mark.parametrize("form", ["project/fl-app.toml", "{}/project/fl-app.toml"])
@pytest.mark.parametrize(("part", "name"), [("", "demo"), ("#", "demo"), ("#hospitals", "hospitals")])
def test_a_file_may_be_given_with_a_name(
    tmp_path: Path, project: Path, form: str, part: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project.parent == tmp_path
    assert find_federation(form.format(tmp_path) + part, tmp_path).name == name
    monkeypatch.setenv("FL_APP_FEDERATION", form.format(tmp_path) + part)
    assert find_federation(None, tmp_path).name == name


def test_with_nothing_said_it_is_the_census_demo(tmp_path: Path, own_home: Path) -> None:
    federation = find_federation(None, tmp_path)
    assert federation == find_federation("census", tmp_path) == census_federation()
    assert isinstance(federation, SimulatedFederation)
    assert (federation.name, federation.home, federation.test_target) == ("census", own_home, "TARGET")
    assert [path.parent for path in federation.pods] == [own_home / "census"] * 2
    assert federation.test_file is not None
    assert all(path.is_file() for path in (*federation.pods, federation.test_file))


def test_the_census_demo_can_be_asked_for_beside_other_federations(project: Path, tmp_path: Path) -> None:
    assert find_federation("census", project).name == "census"
    (project / "fl-app.toml").write_text(TWO.replace("federation.demo", "federation.census").replace("demo", "census"))
    own = find_federation("census", project)
    assert isinstance(own, SimulatedFederation)
    assert own.home == project / ".fl-app"
    assert census_federation(tmp_path / "other").home == tmp_path / "other"


def test_the_only_federation_needs_no_default(project: Path) -> None:
    only = TWO.partition("[federation.hospitals]")[0].replace('default = "demo"\n', "")
    (project / "fl-app.toml").write_text(only)
    assert find_federation(None, project).name == "demo"
    (project / "fl-app.toml").write_text(TWO.replace('default = "demo"\n', ""))
    with pytest.raises(UsageError, match=r"choose one of demo, hospitals"):
        find_federation(None, project)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "[::1]"])
def test_insecure_is_for_this_machine(tmp_path: Path, host: str) -> None:
    federation = deployment(tmp_path, f'superlink = "{host}:8123"\ninsecure = true')
    assert isinstance(federation, DeployedFederation)
    assert federation.insecure


@pytest.mark.parametrize(
    "host", ["fl.example.org", "10.0.0.1", "192.0.2.1", "[::]", "localhost.example.org", "127.0.0.1.example.org"]
)
def test_insecure_over_a_network_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(UsageError, match=r"federation\.x: insecure = true is for a SuperLink on this machine"):
        deployment(tmp_path, f'superlink = "{host}:8123"\ninsecure = true')
    federation = deployment(tmp_path, f'superlink = "{host}:8123"')
    assert isinstance(federation, DeployedFederation)
    assert not federation.insecure


@given(st.text(max_size=20))
@example("8123")
@example(":1")
def test_a_superlink_is_host_and_port(tmp_path_factory: pytest.TempPathFactory, port: str) -> None:
    address = f"localhost:{port}"
    good = port.isascii() and port.isdigit() and 0 < int(port) < 65536
    fields = {"name": "x", "source": "fl-app.toml#x", "kind": "deployment", "superlink": address}
    if good:
        assert DeployedFederation.model_validate(fields).superlink == address
    else:
        with pytest.raises(ValueError, match="must be host:port"):
            DeployedFederation.model_validate(fields)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('default = "demo"', 'defalt = "demo"', "defalt: unknown key, did you mean 'default'"),
        ('default = "demo"', 'default = "dem"', "default: 'dem' is an unknown federation, did you mean 'demo'"),
        ('default = "demo"', "default = 3", "default: 3 is an unknown federation"),
        ('default = "demo"', "default = [[3]]", "default: "),
        ("[federation.demo]", "[federation]", "federation: must hold tables"),
        ("[federation.demo]", "[demo]", "demo: unknown key"),
        ('"simulation"', '"simulated"', "federation.demo: 'kind' must be one of 'simulation', 'deployment'"),
        ('kind = "simulation"\n', "", "federation.demo: the key 'kind' is required, but missing"),
        ('["pods/a.yaml", "../b.py"]', "[]", "federation.demo.pods: "),
        ('["pods/a.yaml", "../b.py"]', '"a.yaml"', "federation.demo.pods: should be a list, not 'a.yaml'"),
        ('["pods/a.yaml", "../b.py"]', "[3]", "federation.demo.pods[0]: "),
        ('home = ".fl-app"', 'hme = ".fl-app"', "federation.demo.hme: unknown key, did you mean 'home'"),
        ('home = ".fl-app"', 'name = "x"', "federation.demo.name: unknown key"),
        ('sep = ";"', "sep = 3", "federation.demo.test_read_options.sep: "),
        ('test_file = "test.csv"', 'superlink = "a:1"', "federation.demo.superlink: unknown key"),
        ('pods = ["pods', 'pods == ["pods', "not TOML: "),
    ],
)
def test_a_wrong_file_says_which_key_and_what_is_allowed(project: Path, old: str, new: str, said: str) -> None:
    path = project / "fl-app.toml"
    assert old in TWO
    path.write_text(TWO.replace(old, new, 1))
    with pytest.raises(UsageError) as caught:
        read_federation(path, "demo")
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("", "federation.x.superlink: required, but missing"),
        ('superlink = "localhost:1"\ninsecure = 1', "federation.x.insecure: should be a valid boolean, not 1"),
        ('superlink = "localhost:1"\ninsecure = true\nroot_certificates = "ca.pem"', "exclude each other"),
        ('superlink = "localhost:1"\npods = ["Hospital"]', "federation.x.pods[0]: a pod's name is"),
        ('superlink = "localhost"\nhome = "."', "2 problems"),
    ],
)
def test_a_wrong_deployment(tmp_path: Path, settings: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        deployment(tmp_path, settings)
    assert said in str(caught.value)


def test_unknown_federations_and_files_are_named(project: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="federation 'hospital': unknown federation, did you mean 'hospitals'"):
        find_federation("hospital", project)
    with pytest.raises(UsageError, match=r"federation 'hospitals': there is no fl-app\.toml in "):
        find_federation("hospitals", tmp_path)
    with pytest.raises(UsageError, match=r"missing\.toml: cannot be read: No such file"):
        find_federation("missing.toml", project)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_federation_or_a_usage_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError):
        read_federation(path)
