"""What people do wrong at the command line: one line that says what is wrong, a documented code, nothing left."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fl_app.cli import main
from server.app.run_directory import RunDirectory
from tests.support.small_federation import isolate, small_federation, table

ROOT = Path(__file__).parents[2]
# A file that anyone may open and nobody can read: not even root, for whom no mode is a hindrance.
UNREADABLE = Path("/proc/self/mem")
FORMATS = ("pt", "safetensors", "onnx", "pt2")
DEPLOYMENT = '[federation.hospitals]\nkind = "deployment"\nsuperlink = "127.0.0.1:1"\nroot_certificates = "bad.pem"\n'


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with a completed run (``good``), a SuperLink, and one of each file that is not what it should be."""
    directory = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch, socket.socket() as busy:
        isolate(patch, directory)
        small_federation(directory)
        with pytest.raises(SystemExit, match="0"):
            main(("fit", "--rounds", "1", "--local-steps", "1", "--json"))
        (run,) = RunDirectory.all(Path("runs"))
        (directory / "runs/latest").unlink()
        run.path.rename(directory / "runs/good")
        for name, file in (("unfinished", "results.json"), ("nameless", "config.json")):
            shutil.copytree("runs/good", f"runs/{name}")
            Path("runs", name, file).write_text("{")
        shutil.copytree("runs/good", "runs/second")
        busy.bind(("127.0.0.1", 0))  # and nobody answers there
        with pytest.raises(SystemExit, match="0"):
            main(("provision", f"127.0.0.1:{busy.getsockname()[1]}", "--directory", "sl", "--no-modeller"))
        lay_out()
        yield directory


def lay_out() -> None:
    """Make the files that are not what they should be."""
    Path("file").write_text("text\n")
    Path("directory").mkdir()
    for suffix in (*FORMATS, "csv", "yaml", "toml", "card", "pem", "fab"):
        Path(f"unreadable.{suffix}").symlink_to(UNREADABLE)
        Path(f"directory.{suffix}").mkdir()
        Path(f"bad.{suffix}").write_bytes(b"[\xff\x00 nonsense\n1,2,3\n")
    Path("deployment.toml").write_text(DEPLOYMENT)
    Path("raises.py").write_text("1 / 0\n")
    Path("empty.csv").write_text("")
    Path("ragged.csv").write_text("age,colour\n1,red\n2,blue,3,4\n")
    table(5, 0).drop(columns="age").to_csv("narrow.csv", index=False)
    table(5, 0).assign(age="old").to_csv("worded.csv", index=False)


# Arguments, exit code, and a part of what is said.
WRONG_WORDS = [
    ("nonsense", 2, "No such command 'nonsense'; see `fl-app --help`"),
    ("--nothing", 2, "No such option"),
    ("runs nonsense", 2, "No such command 'nonsense'; see `fl-app runs --help`"),
    ("demo --rounds many", 2, "'many' is not a valid integer; see `fl-app demo --help`"),
    ("demo --architecture x", 2, "is not one of"),
    ("fit --network nothing.py", 2, "File 'nothing.py' does not exist"),
    ("fit --network raises.py --architecture mlp", 2, "--architecture and --network: give one of the two"),
    ("fit --network raises.py --privacy epsilon=1", 2, "--network has no part in a run with --privacy"),
    ("fit --network bad.csv", 2, "a network's file is Python source in UTF-8"),
    ("predict good public.csv --network raises.py", 2, "its network is one of fl-app's own, and takes no source"),
    ("export good -o n.py", 2, "its network is one of fl-app's own, and has no source to write"),
    ("export good --format py -o n.txt", 2, "ends in .py"),
    ("fit --rounds 0", 2, "rounds: should be greater than or equal to 1, not 0"),
    ("fit --lr nan", 2, "lr must be a finite number"),
    ("fit --lr-decay 5", 2, "lr_decay: should be less than or equal to 1"),
    ("fit --local-epochs 1 --local-steps 2", 2, "one of local_epochs and local_steps, not both"),
    ("fit --optimizer Nothing", 2, "unknown optimizer 'Nothing'; allowed are SGD"),
    ("fit --strategy Nothing", 2, "is not one of 'FedAvg'"),
    ("fit --strategy-params {", 2, "--strategy-params: not JSON"),
    ("fit --pods north", 2, "pods: should have at least 2 items, not 1"),
    ("fit --pods north,north", 2, "a pod is named twice"),
    ("fit --group-by outcome", 2, "group_by: 'outcome' is the target"),
    ("fit --group-by colour --folds 2", 2, "--group-by has no part in a cross-validation"),
    ("fit --group-by colour --privacy epsilon=3", 2, "--group-by has no part in a run with --privacy"),
    ("fit --resume good --group-by colour", 2, "--group-by: a resumed run keeps the settings it began with"),
    ("fit --importance --folds 2", 2, "--importance has no part in a cross-validation"),
    ("fit --importance --privacy epsilon=3", 2, "--importance has no part in a run with --privacy"),
    ("fit --resume good --importance", 2, "--importance: a resumed run keeps the settings it began with"),
    ("tune --importance", 2, "No such option '--importance'"),
    ("fit --folds 3", 2, "'3' is not one of '2', '5', '10'"),
    ("fit --folds 2 --test-file public.csv", 2, "--test-file has no part in a cross-validation"),
    ("fit --folds 2 --privacy epsilon=3", 2, "--folds has no part in a run with --privacy"),
    ("fit --resume good --folds 2", 2, "--folds: a resumed run keeps the settings it began with"),
    ("fit --resume good --lr 1", 2, "--lr: a resumed run keeps the settings it began with"),
    ("export good --format h5", 2, "is not one of 'safetensors', 'pt', 'onnx', 'pt2', 'py'"),
    ("export good -o m.h5", 2, "ends in .safetensors, .pt, .onnx, .pt2"),
    ("export good --format pt -o m.onnx", 2, "ends in .pt"),
    ("predict good", 2, "Missing argument 'TABLE'"),
    ("runs log good", 2, "say where to: --tensorboard DIR, --mlflow URI"),
    ("runs compare good good", 2, "give two different runs or more"),
    ("runs remove good", 2, "say --yes where nobody can be asked"),
    ("pod keygen A:B", 2, "a pod's name is 1 to 64 lowercase letters"),
    ("pod run north.yaml --superlink nowhere", 2, "must be host:port"),
    ("pod run north.yaml --superlink 10.0.0.1:8123 --insecure", 2, "give --root-certificates"),
    ("pod run north.yaml --federation small", 2, "is a simulation: give the operator's join file"),
    ("pod log north --json --lines", 2, "give one of --json and --lines"),
    ("pod column north.yaml age --parts month", 2, "'age' is no date, and has no parts: say --kind date too"),
    ("pod column north.yaml age --kind date", 1, "column 'age' is declared a date but holds text that is none"),
    ("pod column north.yaml age --kind date --unit weeks", 2, "dates.age.unit: should be 'days', 'hours', 'minutes'"),
    (
        "pod column north.yaml age --kind date --bounds 2000-01-01,soon",
        2,
        "must be a date such as 2000-01-31, not 'soon'",
    ),
    ('pod init public.csv --name x --read-options {"date_format":"%d.%m"}', 2, "needs a year, a month and a day"),
    ("modeller keygen A:B", 2, "1 to 64 lowercase letters"),
    ("hub --port 70000", 2, "70000 is not in the range"),
    ("hub --host 0.0.0.0 --port 0", 2, "beyond this machine a hub needs --certificate and --key"),
    ("hub --certificate public.csv", 2, "--certificate and --key go together"),
    ("pod hub nobody --port -1", 2, "-1 is not in the range"),
    ("pod hub nobody --certificate public.csv", 2, "--certificate and --key go together"),
    ("pod hub nobody --metrics-token north.yaml", 2, "expected one line of at least 16 characters without spaces"),
    ("pod hub A/B", 2, "a pod's name is 1 to 64"),
    ("hub open", 2, "you serve no hub; `fl-app hub` starts one"),
    ("hub open --port 8051", 2, "you serve no hub on port 8051"),
    ("provision nowhere", 2, "expected host:port"),
    ("provision 127.0.0.1:99999", 2, "expected host:port"),
]
WHAT_IS_NOT_THERE = [
    *((f"{command} nothing", 2, "no run directory") for command in ("runs show", "report", "export", "fit --resume")),
    ("runs compare good nothing", 2, "no run directory"),
    ("export fl-app.toml", 2, "fl-app.toml: no model file"),
    ("predict nothing public.csv", 2, "no run directory"),
    ("runs remove nothing --yes", 2, "no run directory"),
    ("export nothing.pt", 2, "nothing.pt: no model file (.pt, .safetensors, .onnx, .pt2) and no run directory"),
    ("predict nothing.onnx public.csv", 2, "nothing.onnx: no model file"),
    ("predict good nothing.csv", 2, "File 'nothing.csv' does not exist"),
    *((f"{command} --federation nothing", 2, "unknown federation") for command in ("fit", "pods", "hub", "doctor")),
    ("pod check north.yaml --federation nothing", 2, "unknown federation (allowed: small)"),
    ("fit --federation nothing.toml", 2, "nothing.toml: cannot be read: No such file"),
    ("fit --test-file nothing.csv", 2, "File 'nothing.csv' does not exist"),
    ("pod init nothing.csv", 2, "File 'nothing.csv' does not exist"),
    ("pod run nothing.yaml", 2, "File 'nothing.yaml' does not exist"),
    ("pod check nothing.yaml", 2, "File 'nothing.yaml' does not exist"),
    ("pod approve hospital-b nothing.card", 2, "File 'nothing.card' does not exist"),
    ("pod approve-app north nothing.fab", 2, "nothing.fab: the bundle cannot be read: No such file"),
    *((f"pod {verb} nobody", 2, "`fl-app pod keygen nobody` makes") for verb in ("status", "pause", "resume", "hub")),
    ("pod approve-app nobody", 2, "`fl-app pod keygen nobody` makes"),
    ("pod log nobody", 2, "a pod has one after its first run"),
    ("pod rotate nobody", 2, "`fl-app pod keygen` makes one"),
    ("pod revoke nobody", 2, "`fl-app pod known` lists who is"),
    ("modeller card", 2, "`fl-app modeller keygen NAME` makes one"),
    ("provision 127.0.0.1:1 nothing.card", 2, "File 'nothing.card' does not exist"),
    ("superlink run nothing", 2, "Directory 'nothing' does not exist"),
    ("superlink revoke sl nobody", 2, "'nobody' is not registered"),
]
A_DIRECTORY = [
    ("predict good directory", 2, "File 'directory' is a directory"),
    ("predict directory.pt public.csv", 2, "directory.pt: no model file"),
    ("export good -o directory.pt", 2, "File 'directory.pt' is a directory"),
    ("predict good public.csv -o directory", 2, "File 'directory' is a directory"),
    ("fit --federation directory.toml", 2, "directory.toml: cannot be read: Is a directory"),
    ("fit --test-file directory.csv", 2, "is a directory"),
    ("pod init directory.csv", 2, "is a directory"),
    ("pod run directory.yaml", 2, "is a directory"),
    ("pod keygen x -o directory.card", 2, "is a directory"),
    ("pod approve hospital-b directory.card", 2, "is a directory"),
    ("pod approve-app north directory.fab", 2, "directory.fab: the bundle cannot be read: Is a directory"),
    ("provision 127.0.0.1:1 directory.card", 2, "is a directory"),
    *(
        (f"superlink {verb} directory", 2, "`fl-app provision HOST:PORT` makes one")
        for verb in ("run", "show", "renew")
    ),
    # ... and the other way round
    ("runs --runs file", 2, "file: not a directory"),
    ("hub --runs file", 2, "file: not a directory"),
    ("hub --certificate directory --key directory", 2, "File 'directory' is a directory"),
    ("runs log good --tensorboard file", 2, "Directory 'file' is a file"),
    ("provision 127.0.0.1:1 --directory file", 2, "Directory 'file' is a file"),
    ("superlink run file", 2, "Directory 'file' is a file"),
    ("pod known --home file", 2, "Not a directory"),
    ("pod keygen x --home file", 2, "Not a directory"),
]
UNREADABLE_OR_BROKEN = [
    *((f"predict unreadable.{form} public.csv", 1, f"unreadable.{form}: cannot be read: ") for form in FORMATS),
    *((f"predict bad.{form} public.csv", 1, f"bad.{form} is no .{form} model file") for form in FORMATS),
    ("export bad.pt -o m.safetensors", 1, "bad.pt is no .pt model file"),
    ("export bad.onnx -o m.pt", 2, "ends in .pt or .safetensors"),
    ("predict good unreadable.csv", 1, "unreadable.csv: cannot be read: Input/output error"),
    ("predict good empty.csv", 1, "empty.csv: cannot be read as csv: the file is empty"),
    (
        "predict good ragged.csv",
        1,
        "ragged.csv: cannot be read as csv: a row has another number of fields",
    ),
    ("predict good narrow.csv", 1, "narrow.csv: the table has no column 'age', which the schema requires"),
    ("predict good worded.csv", 1, "worded.csv: column 'age' is declared continuous but holds text"),
    ("runs show unfinished", 2, "results.json: cannot be read"),
    ("report nameless", 2, "config.json: cannot be read"),
    ("fit --federation unreadable.toml", 2, "unreadable.toml: cannot be read: Input/output error"),
    ("fit --federation bad.toml", 2, "bad.toml: not TOML"),
    ("pod init unreadable.csv --name x", 1, "unreadable.csv: cannot be read: Input/output error"),
    ("pod init empty.csv --name x", 1, "empty.csv: cannot be read as csv"),
    ("pod init public.csv --name x --ignore nothing", 2, "--ignore names nothing, which public.csv does not have"),
    ("pod run unreadable.yaml --superlink 127.0.0.1:1 --insecure", 2, "unreadable.yaml: cannot be read: Input/output"),
    ("pod run bad.yaml --superlink 127.0.0.1:1 --insecure", 2, "bad.yaml: "),
    ("pod run raises.py --superlink 127.0.0.1:1 --insecure", 2, "line 1: stopped with ZeroDivisionError"),
    ("pod run north.yaml --superlink 127.0.0.1:1 --root-certificates bad.pem", 2, "bad.pem: holds no certificate"),
    ("pod run north.yaml --federation deployment.toml", 2, "bad.pem: holds no certificate (PEM)"),
    ("pod run north.yaml --superlink 127.0.0.1:1 --root-certificates unreadable.pem", 2, "certificates cannot be read"),
    ("pod approve hospital-b unreadable.card", 2, "unreadable.card: cannot be read: Input/output error"),
    ("pod approve hospital-b bad.card", 2, "bad.card: not a card"),
    ("pod approve-app north unreadable.fab", 2, "unreadable.fab: the bundle cannot be read: Input/output error"),
    ("pod approve-app north bad.fab --yes", 2, "bad.fab: not an app's bundle"),
    ("provision 127.0.0.1:1 bad.card", 2, "bad.card: not a card"),
]
CANNOT_BE_WRITTEN = [
    ("export good -o no/such/m.pt", 2, "no/such/m.pt: cannot be written: No such file or directory"),
    ("predict good public.csv -o no/such.csv", 2, "no/such.csv: cannot be written"),
    ("runs compare good second -o no/such.png", 2, "no/such.png: cannot be written: No such file or directory"),
    ("runs log good --tensorboard /proc/nothing", 2, "/proc/nothing/good: cannot be written"),
    ("pod init public.csv --name x -o no/x.yaml", 2, "no/x.yaml: the pod file cannot be written"),
    ("pod init public.csv -o north.yaml", 2, "north.yaml: there is such a file already"),
    ("pod keygen x -o no/x.card", 2, "no/x.card: the card cannot be written: there is no directory no"),
    ("pod keygen x -o public.csv", 2, "public.csv: there is a file that is not a card"),
    ("superlink run sl", 2, "is in use: end the process that listens there"),
]
TABLE = [*WRONG_WORDS, *WHAT_IS_NOT_THERE, *A_DIRECTORY, *UNREADABLE_OR_BROKEN, *CANNOT_BE_WRITTEN]
# What an extra brings, the command that needs it, and what to install.
EXTRAS = [
    ("onnxscript", "export good -o m.onnx", "pip install 'fl-app[onnx]'"),
    ("onnxruntime", "predict bad.onnx public.csv", "pip install 'fl-app[onnx]'"),
    ("tensorboard", "runs log good --tensorboard logs", "pip install 'fl-app[tensorboard]'"),
    ("mlflow", "runs log good --mlflow http://127.0.0.1:1", "pip install 'fl-app[mlflow]'"),
]


def files_in(directory: Path) -> set[Path]:
    return {path for path in directory.rglob("*") if "__pycache__" not in path.parts}


def refused(capsys: pytest.CaptureFixture[str], command: str) -> tuple[int, str]:
    """Carry a command out that says nothing but why it does not; return its exit code and what it says."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main(command.split())
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fl-app: ")
    assert err.count("\n") == 1
    return int(left.value.code or 0), err


@pytest.mark.parametrize(("command", "code", "said"), TABLE, ids=[command for command, _, _ in TABLE])
def test_a_mistake_is_one_line_and_changes_nothing(
    command: str, code: int, said: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_in(project)
    found, line = refused(capsys, command)
    assert said in line
    assert found == code
    assert files_in(project) == before


@pytest.mark.parametrize(("package", "command", "said"), EXTRAS, ids=[package for package, _, _ in EXTRAS])
def test_a_missing_extra_is_named_with_how_to_install_it(
    package: str,
    command: str,
    said: str,
    project: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    before = files_in(project)
    code, line = refused(capsys, command)
    assert code == 2
    assert said in line
    assert files_in(project) == before


@pytest.mark.parametrize(
    ("command", "code"), [("runs shwo", 2), ("predict bad.pt public.csv", 1), ("pod run directory.yaml", 2)]
)
def test_the_installed_command_does_the_same(command: str, code: int, project: Path) -> None:
    program = [sys.executable, "-c", "import sys; from fl_app.cli import main; sys.exit(main())", *command.split()]
    done = subprocess.run(program, cwd=project, env={"PYTHONPATH": str(ROOT)}, capture_output=True, timeout=120)
    assert (done.returncode, done.stdout) == (code, b"")
    assert done.stderr.startswith(b"fl-app: ")
    assert done.stderr.count(b"\n") == 1


def test_what_the_machine_refuses_is_one_line_too(capsys: pytest.CaptureFixture[str], project: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        full = OSError(28, "No space left on device", "runs/good")
        patch.setattr("server.modeller.run_removal.remove", lambda run: (_ for _ in ()).throw(full))
        assert refused(capsys, "runs remove good --yes") == (1, "fl-app: runs/good: No space left on device\n")
