"""A run in simulation: the ServerApp, Flower's simulation engine and its workers, all in a child process.

Nothing of them touches the caller: no event loop, no log line, no process or file that stays. Run as a module, this
file is that child.
"""

import copyreg
import os
import secrets
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from fl_app.errors import FlAppError, RunFailed
from fl_app.host.processes import GuardedProcess, flower_environment, same_path
from fl_app.system.memory import uncollected
from server.app.run_directory import FLOWER_LOG, RUN_DIRECTORY_VARIABLE, RunDirectory
from server.modeller import ray_start

SERVER_APP = "server.app.main:app"
CLIENT_APP = "client.app.main:app"

_RAY: Mapping[str, str] = {
    # Workers started ahead of their use compete with Ray's own servers for the processor: 1.4 of 6 s on two cores.
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    # By its name for two systems only; it keeps Ray's servers off the network on every one.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    # On a busy machine a worker may take minutes to start, and a server to answer (`ray_start` has the rest).
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_gcs_server_request_timeout_seconds": "300",
    "RAY_health_check_timeout_ms": "60000",
    "RAY_raylet_start_wait_time_s": "5",  # for one look at whether it runs; `ray_start` looks again
}

_DATABASES: Mapping[str, str] = {
    "flwr.supercore.object_store.sql_object_store": "SqlObjectStore",
    "flwr.server.superlink.linkstate.sql_linkstate": "SqlLinkState",
}
"""Modules of Flower's with what others import of them: they take as long as torch, and no simulation uses them."""
_LAST_LINES = 1.0
"""Seconds that a failed run waits for what Ray's workers have printed, which Ray brings from their files."""


class Simulation:
    """One run in simulation, in the current directory.

    Parameters
    ----------
    server_app, client_app
        The two halves as ``module:attribute``, found by the child where this process would find them.
    """

    def __init__(self, server_app: str = SERVER_APP, client_app: str = CLIENT_APP) -> None:
        self._apps = (server_app, client_app)
        self._process: GuardedProcess | None = None

    def start(self, run_dir: Path, environment: Mapping[str, str], num_pods: int) -> None:
        """Start the run and return at once; ``flower.log`` in ``run_dir`` gets everything that is printed.

        Parameters
        ----------
        run_dir
            An existing directory, which the ServerApp finds as FL_APP_RUN_DIR.
        environment
            Variables for the ServerApp and the ClientApps, beside those of this process.
        num_pods
            How many nodes take part; node i is given ``partition-id`` i.
        """
        if self._process is not None:
            raise RuntimeError("this simulation has been started before")
        # Ray puts sockets into its directory, whose paths may have no more than about 100 characters.
        scratch = Path(tempfile.mkdtemp(prefix="fl-app-", dir="/tmp"))
        given = {
            **environment,
            **_RAY,
            # Whoever may talk to Ray may run any code as this user, and this machine may have others.
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "PYTHONPATH": os.pathsep.join([ray_start.without_slow_imports(scratch), same_path(environment)]),
            RUN_DIRECTORY_VARIABLE: str(run_dir.resolve()),
            "FLWR_HOME": str(scratch / "flwr"),
        }
        child = [sys.executable, "-P", "-m", "server.modeller.simulation", *self._apps, str(num_pods), str(scratch)]
        self._process = GuardedProcess(
            child, log=run_dir / FLOWER_LOG, environment=flower_environment(given), scratch=scratch
        )

    def wait(self, seconds: float | None = None) -> int:
        """Return the exit code once the run has ended and nothing of it is left: 0 if the ServerApp returned.

        Raises
        ------
        TimeoutError
            If that takes longer than ``seconds``; the run goes on.
        """
        if self._process is None:
            raise RunFailed("the simulation has not been started")
        return self._process.wait(seconds)

    def stop(self) -> None:
        """End the run, if it has not ended, with everything that belongs to it."""
        if self._process is not None:
            self._process.stop()


def _child(server_ref: str, client_ref: str, num_pods: int, scratch: str) -> None:
    """Run the two apps in a simulation; does not return.

    The process leaves as soon as the ServerApp has returned or raised. Taking Flower and Ray down in order would take
    some seconds more and serve nothing: their processes and files are the guard's to remove.
    """
    _leave_out_databases()
    from flwr.app import Context
    from flwr.clientapp import ClientApp
    from flwr.serverapp import Grid, ServerApp
    from flwr.supercore.object_ref import load_app

    try:
        # Of this copy of the packages, not of one that lies in the current directory.
        installed = Path(__file__).resolve().parents[2]
        workers = min(num_pods, os.cpu_count() or 1)
        with uncollected():
            server, client = (load_app(app, ImportError, installed) for app in (server_ref, client_ref))
            if not ray_start.NEEDED:
                from server.modeller.worker_nursery import ForkedWorkers, open_nursery

                _preload(client_ref)
        if not ray_start.NEEDED:
            ForkedWorkers(open_nursery(client), workers).take_rays_place()

        from flwr.simulation import run_simulation

        watched = ServerApp()

        @watched.main()
        def main(grid: Grid, context: Context) -> None:
            try:
                server(grid, context)
            except BaseException as error:
                _leave(error)
            _leave()

        if ray_start.NEEDED:
            from flwr.simulation.ray_transport import ray_actor
            from ray import cloudpickle

            ray_start.start_ray(Path(scratch), workers)  # Flower uses the Ray it finds
            # Flower sends the app with every message; its name will do, and is written and read much faster.
            copyreg.pickle(ClientApp, lambda app: (load_app, (client_ref, ImportError, installed)))
            # By its name, a worker's class would have each worker import Flower's simulation engine.
            cloudpickle.register_pickle_by_value(ray_actor)  # type: ignore[no-untyped-call]
        run_simulation(
            server_app=watched,
            client_app=client,
            num_supernodes=num_pods,
            backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0}},
        )
    except BaseException as error:
        # The ServerApp's thread would keep this process alive, waiting for answers that nobody will give.
        _leave(error)
    _leave(RunFailed("the simulation ended before the ServerApp did"))


def _preload(client_ref: str) -> None:
    """Import what the handlers of an app that knows it will import; to tell what a pod publishes it needs nothing."""
    module, run = sys.modules[client_ref.partition(":")[0]], RunDirectory(Path(os.environ[RUN_DIRECTORY_VARIABLE]))
    if hasattr(module, "preload") and run.request().discovery is None:
        getattr(module, "preload_tables" if run.config().describes else "preload", module.preload)()


def _leave_out_databases() -> None:
    """Have Flower not import what would keep messages on a disk: a simulation keeps them in memory."""
    for module, name in _DATABASES.items():
        empty = ModuleType(module)
        setattr(empty, name, None)
        sys.modules.setdefault(module, empty)


def _leave(error: BaseException | None = None) -> None:
    if error is not None:
        if ray_start.NEEDED:
            time.sleep(_LAST_LINES)
        traceback.print_exception(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if error is None else error.exit_code if isinstance(error, FlAppError) else 1)


if __name__ == "__main__":
    _child(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
