"""Pods on disk, and whole runs over them in this process: the real ServerApp, strategy and ClientApp, no network."""

import os
import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest import mock

import pandas as pd
import yaml
from flwr.app import Context, RecordDict

from client.app.main import app as client_app
from client.app.pod_table import PodTable
from fl_app.config import RunConfig
from fl_app.federation.config_file import VARIABLE
from fl_app.federation.kinds import SimulatedFederation, read_federation
from fl_app.identity.known_pods import keygen
from fl_app.pod.pod_file import load_pod
from server.app.main import app as server_app
from server.app.run_directory import RUN_DIRECTORY_VARIABLE, RunDirectory
from tests.support.in_process import InProcessGrid

# A study compares with plain averaging and with pods of one class; an owner would ask for more.
POLICY = {"minimum_cohort": 2, "minimum_rows_per_class": 0, "require_secure_aggregation": False}


def create_federation(
    directory: Path,
    tables: Sequence[pd.DataFrame],
    categorical: Sequence[str],
    bounds: Mapping[str, tuple[float, float]] = MappingProxyType({}),
) -> SimulatedFederation:
    """Write a pod for each table, all of which approve each other, with keys, and return their federation.

    Their owners state the ``bounds`` of these columns.
    """
    terms = {
        # Models are scored on adult.test, so that no pod needs test rows of its own.
        "data_config": {
            "force_stypes": {"categorical": list(categorical)},
            "test_percent": 0,
            "bounds": {column: list(ends) for column, ends in bounds.items()},
        },
        "policy": POLICY,
    }
    return write_federation(directory, {f"pod-{place}": table for place, table in enumerate(tables, 1)}, terms)


def write_federation(
    directory: Path, tables: Mapping[str, pd.DataFrame], terms: Mapping[str, Any]
) -> SimulatedFederation:
    """Write a pod for each table by its name, with keys; ``terms`` are what else stands in every pod's file."""
    for name, table in tables.items():
        table.to_csv(directory / f"{name}.csv", index=False)
        pod = {
            "name": name,
            "datasource": "CSVSource",
            "datasource_args": {"path": f"{name}.csv"},
            "approved_pods": list(tables),
            **terms,
        }
        (directory / f"{name}.yaml").write_text(yaml.safe_dump(pod))
        keygen(name, directory / "home")
    pods = ", ".join(f'"{name}.yaml"' for name in tables)
    toml = f'[federation.study]\nkind = "simulation"\nhome = "home"\npods = [{pods}]\n'
    (directory / "fl-app.toml").write_text(toml)
    federation = read_federation(directory / "fl-app.toml", "study")
    if not isinstance(federation, SimulatedFederation):
        raise TypeError("the study's federation is a simulation")
    return federation


def tables_of(federation: SimulatedFederation) -> list[PodTable]:
    """Return the pods' tables as the pods themselves read and split them."""
    return [PodTable.of(load_pod(path)) for path in federation.pods]


def run(config: RunConfig, federation: SimulatedFederation, runs: Path) -> tuple[dict[str, Any], Path]:
    """Train as ``config`` says, and return the content of results.json and the path of the model."""
    directory = RunDirectory.create(runs, config)
    nodes = {100 + place: {"partition-id": place} for place in range(len(federation.pods))}
    nothing: Any = deque(maxlen=0)  # the grid's record of all messages, which nobody reads here
    grid = InProcessGrid(client_app, nodes, run_id=secrets.randbits(62), requests=nothing, replies=nothing)
    with mock.patch.dict(os.environ, {VARIABLE: federation.source, RUN_DIRECTORY_VARIABLE: str(directory.path)}):
        server_app(grid, Context(grid.run_id, 0, {}, RecordDict(), {}))
    return directory.results().document(), directory.model_path()
