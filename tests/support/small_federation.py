"""Two small pods with keys, tables and a federation file; a launcher that runs the real apps in this process."""

import os
import secrets
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from flwr.app import Context, Message, RecordDict

from client.app.main import app as client_app
from fl_app.errors import FlAppError
from fl_app.federation.config_file import VARIABLE
from fl_app.federation.kinds import SimulatedFederation, read_federation
from fl_app.identity.known_pods import keygen
from server.app.main import app as server_app
from server.app.run_directory import RUN_DIRECTORY_VARIABLE
from tests.support.in_process import InProcessGrid
from tests.support.one_day import on_one_day

PODS = ("north", "south")
POLICY = "{minimum_cohort: 2, minimum_rows_per_class: 1, minimum_category_count: 3, require_secure_aggregation: %s}"


class InProcess:
    """A launcher for `server.modeller.launch` whose run has ended when ``start`` returns."""

    def start(self, run_dir: Path, environment: Mapping[str, str], num_pods: int) -> None:
        variables = {**environment, RUN_DIRECTORY_VARIABLE: str(run_dir)}
        nodes = {100 + place: {"partition-id": place} for place in range(num_pods)}
        # As Flower does, a number of its own for each run: pods answer no run twice.
        grid = InProcessGrid(client_app, nodes, run_id=secrets.randbits(62), on_request=self.on_request)
        with mock.patch.dict(os.environ, variables):
            try:
                server_app(grid, Context(grid.run_id, 0, {}, RecordDict(), {}))
                self.code = 0
            except FlAppError:
                self.code = 1
            except Exception:
                (run_dir / "flower.log").write_text(traceback.format_exc())
                self.code = 1

    def on_request(self, message: Message) -> Message:
        return message

    def wait(self, seconds: float | None = None) -> int:
        return self.code

    def stop(self) -> None:
        pass


class InThread(InProcess):
    """The same, in a thread, so that the run goes on while it is followed."""

    def start(self, run_dir: Path, environment: Mapping[str, str], num_pods: int) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=super().start, args=(run_dir, environment, num_pods))
        self._thread.start()

    def on_request(self, message: Message) -> Message:
        if self._stopped.is_set():
            raise RuntimeError("stopped")
        return message

    def wait(self, seconds: float | None = None) -> int:
        self._thread.join(seconds)
        if self._thread.is_alive():
            raise TimeoutError
        return self.code

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()


def in_this_process(patch: pytest.MonkeyPatch) -> None:
    """Have `InProcess` carry out all runs, on one day and without noise, so that they can be repeated and compared."""
    on_one_day(patch)
    patch.setattr("server.modeller.launch.launcher_for", lambda federation: InProcess())
    patch.setattr("client.app.noised_sums.discrete_gaussian", lambda variance, size, randomness: np.zeros(size, int))


def table(rows: int, seed: int) -> pd.DataFrame:
    """Return rows whose age and colour predict the outcome, with some of either missing."""
    rng = np.random.default_rng(seed)
    age, colour = rng.integers(18, 90, rows), rng.choice(["red", "green", "blue"], rows)
    outcome = np.where(age + 30 * (colour == "red") + rng.normal(0, 8, rows) > 60, "yes", "no")
    frame = pd.DataFrame({"age": age.astype(float), "colour": colour, "outcome": outcome})
    frame.loc[::50, "age"] = np.nan
    frame.loc[::40, "colour"] = "?"
    return frame


def write_pod(directory: Path, name: str, approved: tuple[str, ...] = PODS, *, secure_only: bool = True) -> Path:
    path = directory / f"{name}.yaml"
    path.write_text(
        f"name: {name}\ndatasource: CSVSource\ndatasource_args: {{path: {name}.csv}}\n"
        f"approved_pods: [{', '.join(approved)}]\npolicy: {POLICY % str(secure_only).lower()}\n"
    )
    return path


def small_federation(directory: Path, *, secure_only: bool = True) -> SimulatedFederation:
    """Make the two pods, their keys and a public test file in ``directory``, and return their federation."""
    for seed, name in enumerate(PODS):
        table(600, seed).to_csv(directory / f"{name}.csv", index=False)
        write_pod(directory, name, secure_only=secure_only)
        keygen(name, directory / "home")
    table(300, 9).to_csv(directory / "public.csv", index=False)
    (directory / "fl-app.toml").write_text(
        '[federation.small]\nkind = "simulation"\npods = ["north.yaml", "south.yaml"]\nhome = "home"\n'
        'test_file = "public.csv"\ntest_target = "outcome"\n'
    )
    made = read_federation(directory / "fl-app.toml", "small")
    if not isinstance(made, SimulatedFederation):
        raise TypeError("the small federation is a simulation")
    return made


def isolate(patch: pytest.MonkeyPatch, directory: Path) -> None:
    """Work in ``directory``, out of reach of this machine's own keys and federations, with runs in this process."""
    patch.chdir(directory)
    patch.setenv("FL_APP_HOME", str(directory / "home"))
    patch.delenv(VARIABLE, raising=False)
    in_this_process(patch)
