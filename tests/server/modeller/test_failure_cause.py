"""From a log to a cause. The texts are what Flower 1.x and Ray 2.x have printed, shortened; the processes themselves
are made to fail in tests/processes/test_failures.py."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fl_app.config import RunConfig
from fl_app.federation.kinds import DeployedFederation, SimulatedFederation
from fl_app.system.home import LOG_FILE, pod_home
from fl_app.tabular.settings import DataStructure
from server.modeller.failure_cause import RunLog, errors_in, how_it_ended, last_error
from server.modeller.launch import FitFailed, fit
from tests.support.small_federation import PODS

QUIET = """\
\x1b[93mWARNING \x1b[0m:   DEPRECATED FEATURE: The `run_simulation` function is deprecated and will be removed.

            This is a deprecated feature. It will be removed
            entirely in future versions of Flower.

\x1b[92mINFO \x1b[0m:      \t├──> Secure aggregation over 2 pods, q = 2^61-1
"""
RAYLET_LATE = """\
Traceback (most recent call last):
  File "simulation.py", line 131, in _child
    ray.init(
  File "node.py", line 423, in __init__
    raise Exception(
Exception: The current node timed out during startup. This could happen because some of the raylet failed to startup or\
 the GCS has become overloaded.
"""
GCS_LATE = """\
Traceback (most recent call last):
  File "python/ray/_raylet.pyx", line 428, in ray._raylet.wait_for_persisted_port
RuntimeError: Timed out waiting for file /tmp/fl-app-9h3l4wqw/session_2026-11-29/gcs_server_port_4f0777ca468f
"""
NO_MEMORY = """\
\x1b[91mERROR \x1b[0m:     An exception was raised when processing a message by RayBackend
\x1b[91mERROR \x1b[0m:     Traceback (most recent call last):
  File "worker.py", line 1025, in get_objects
    raise value
ray.exceptions.OutOfMemoryError: 1 worker(s) were killed due to the node running low on memory. Memory on the node (IP:\
 127.0.0.1) was 1.60GB / 23.54GB (0.067823), which exceeds the memory usage threshold of 0.010000
"""
WORKER_KILLED = """\
Traceback (most recent call last):
  File "worker.py", line 1025, in get_objects
    raise value
ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.
\tclass_name: ClientAppActor
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker\
 unexpectedly exits with a connection error code 2. End of file.
"""
UNNAMED = """\
\x1b[36m(ClientAppActor pid=9020)\x1b[0m a pod cannot tell in whose name to answer
\x1b[36m(ClientAppActor pid=9020)\x1b[0m Traceback (most recent call last):
\x1b[36m(ClientAppActor pid=9021)\x1b[0m Traceback (most recent call last):
\x1b[36m(ClientAppActor pid=9021)\x1b[0m ValueError: of the other pod
\x1b[36m(ClientAppActor pid=9020)\x1b[0m   File "key_file.py", line 115, in read_private
\x1b[36m(ClientAppActor pid=9020)\x1b[0m fl_app.identity.key_file.MissingKey: identity.key: no identity key
Traceback (most recent call last):
  File "hello.py", line 59, in say_hello
strategies.cohort.CohortRefused: no cohort: pod 'unnamed' could not answer; its own log says why
"""
SUPERLINK_REFUSED = """\
\x1b[92mINFO \x1b[0m:      Starting Flower SuperExec
flower-superexec: error: one of the arguments --runtime-api-address is required
"""
NO_MODULE = """\
Traceback (most recent call last):
  File "bad_server.py", line 1, in <module>
    import nowhere_to_be_found
ModuleNotFoundError: No module named 'nowhere_to_be_found'
"""
SILENT = "no cohort: pod 'north' could not answer; its own log says why"


@pytest.fixture
def log(tmp_path: Path) -> RunLog:
    return RunLog(tmp_path / "flower.log")


def write(log: RunLog, text: str) -> RunLog:
    log.path.write_text(QUIET + text)
    return log


def in_pod_log(small: SimulatedFederation, pod: str, age: timedelta, error: str) -> None:
    time = (datetime.now(UTC) - age).isoformat(timespec="seconds")
    entry = f'{time} Traceback (most recent call last):\n  File "table.py", line 31, in of\n{error}\n\n'
    with (pod_home(pod, small.home) / LOG_FILE).open("a") as file:
        file.write(entry)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (RAYLET_LATE, "Ray, which carries out simulations, did not start in time"),
        (GCS_LATE, "Ray, which carries out simulations, did not start in time"),
        (NO_MEMORY, "the machine ran out of memory"),
        (WORKER_KILLED, "a pod's process crashed or was killed"),
        (NO_MODULE, "ModuleNotFoundError: No module named 'nowhere_to_be_found': a package is missing"),
        (SUPERLINK_REFUSED, "flower-superexec: error: one of the arguments --runtime-api-address is required"),
        ("Traceback (most recent call last):\nOSError: [Errno 28] No space left on device\n", "the disk is full"),
        ("Traceback (most recent call last):\nfl_app.errors.RunFailed: it ended\n", "it ended"),
        ("Traceback (most recent call last):\nValueError\n", "ValueError"),
    ],
)
def test_a_log_tells_its_cause_in_one_sentence(log: RunLog, text: str, cause: str) -> None:
    told = write(log, text).cause()
    assert told.startswith(cause)
    assert "\n" not in told
    assert "\x1b" not in told


def test_a_log_without_errors_tells_none(log: RunLog) -> None:
    assert log.cause() == ""
    assert write(log, "").cause() == ""


def test_what_an_earlier_attempt_has_printed_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "flower.log"
    path.write_text(NO_MEMORY)
    log = RunLog(path)
    assert log.cause() == ""
    with path.open("a") as file:
        file.write(NO_MODULE)
    assert "nowhere_to_be_found" in log.cause()


def test_of_several_errors_the_last_one_counts_and_long_ones_are_cut() -> None:
    two = NO_MODULE + "\nDuring handling of the above exception, another exception occurred:\n\n" + RAYLET_LATE
    assert [text.partition(":")[0] for text in errors_in(two)] == ["ModuleNotFoundError", "Exception"]
    assert len(last_error("Traceback (most recent call last):\nValueError: " + 5000 * "x")) < 400


def test_a_simulated_pod_s_own_error_is_shown(log: RunLog, small: SimulatedFederation) -> None:
    in_pod_log(small, "north", timedelta(hours=1), "ValueError: of an earlier run")
    assert log.explain(SILENT, small) == SILENT
    in_pod_log(small, "north", -timedelta(seconds=1), "FileNotFoundError: no such file: 'north.csv'")
    in_pod_log(small, "south", -timedelta(seconds=1), "ValueError: of the other pod")
    assert (
        log.explain(SILENT, small)
        == "no cohort: pod 'north' could not answer: FileNotFoundError: no such file: 'north.csv'"
    )


def test_what_only_its_owner_may_read_is_shown_of_a_simulated_pod(log: RunLog, small: SimulatedFederation) -> None:
    (small.home.parent / "north.csv").write_text("age,colour,outcome\n1,red,yes\n2,red,yes,4\n")
    with pytest.raises(FitFailed) as caught:
        fit(RunConfig(pods=PODS, datastructure=DataStructure(target="outcome"), local_epochs=1), small)
    assert "pod 'north' could not answer: north.csv" in str(caught.value)
    assert "line 3" in str(caught.value)


def test_the_error_of_a_simulated_pod_that_cannot_tell_its_name_is_shown(
    log: RunLog, small: SimulatedFederation
) -> None:
    told = write(log, UNNAMED).explain("no cohort: pod 'unnamed' could not answer; its own log says why", small)
    assert told == "no cohort: a pod that cannot tell its name: identity.key: no identity key"


@pytest.mark.parametrize("text", [NO_MEMORY, WORKER_KILLED])
def test_what_happened_to_a_simulated_node_is_shown(log: RunLog, small: SimulatedFederation, text: str) -> None:
    error = "no cohort: a node could not answer: its node could not answer (Flower's error 0)"
    assert write(log, text).explain(error, small).removeprefix(f"{error}: ") == write(log, text).cause()


def test_an_error_that_says_it_all_is_left_as_it_is(log: RunLog, small: SimulatedFederation) -> None:
    error = "no cohort: pod 'north' does not approve pod 'south'"
    assert write(log, NO_MEMORY).explain(error, small) == error


def test_nothing_is_read_of_a_deployment_s_pods(log: RunLog, small: SimulatedFederation) -> None:
    in_pod_log(small, "north", -timedelta(seconds=1), "ValueError: a secret")
    deployed = DeployedFederation(kind="deployment", name="d", source="d", superlink="127.0.0.1:9092", insecure=True)
    assert write(log, NO_MEMORY).explain(SILENT, deployed) == SILENT


@pytest.mark.parametrize(
    ("code", "words"),
    [(3, "exit code 3"), (137, "SIGKILL; the system does so when memory runs out"), (143, "SIGTERM"), (250, "122")],
)
def test_how_a_process_ended_is_told(code: int, words: str) -> None:
    assert words in how_it_ended(code)
