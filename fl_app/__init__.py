"""Train one tabular model over pods that never show their data.

The names below are all that a modeller or a pod's owner needs; each is imported when it is first used, so that a
command or a pod loads nothing that it does not need.
"""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fl_app.config import FederatedAveraging, SecureAggregator
    from fl_app.federation.kinds import Federation
    from fl_app.pod.datasource import CSVSource, ParquetSource
    from fl_app.pod.definition import DateConfig, Pod, PodDataConfig, PodDetailsConfig
    from fl_app.pod.policy import Policy
    from fl_app.privacy.settings import Privacy
    from fl_app.tabular.column_spec import ColumnSpec, ProposedColumn
    from fl_app.tabular.early_stopping import EarlyStopping
    from fl_app.tabular.schema import Schema
    from fl_app.tabular.settings import DataStructure, Optimizer
    from server.modeller.callbacks import Callback, Run
    from server.modeller.classifier import PyTorchTabularClassifier
    from server.modeller.description import Description, describe
    from server.modeller.folds.directory import CrossValidation
    from server.modeller.loggers import setup_loggers
    from server.modeller.regressor import PyTorchTabularRegressor
    from server.modeller.schema_discovery import combine_pod_schemas, get_pod_schema
    from server.modeller.torch_model import TorchModel
    from server.modeller.tuning.directory import Tuning
    from server.modeller.tuning.space import TuningSpace

__all__ = [
    "CSVSource",
    "Callback",
    "ColumnSpec",
    "CrossValidation",
    "DataStructure",
    "DateConfig",
    "Description",
    "EarlyStopping",
    "FederatedAveraging",
    "Federation",
    "Optimizer",
    "ParquetSource",
    "Pod",
    "PodDataConfig",
    "PodDetailsConfig",
    "Policy",
    "Privacy",
    "ProposedColumn",
    "PyTorchTabularClassifier",
    "PyTorchTabularRegressor",
    "Run",
    "Schema",
    "SecureAggregator",
    "TorchModel",
    "Tuning",
    "TuningSpace",
    "combine_pod_schemas",
    "describe",
    "get_pod_schema",
    "setup_loggers",
]

_MODULES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "fl_app.config": ("FederatedAveraging", "SecureAggregator"),
        "fl_app.federation.kinds": ("Federation",),
        "fl_app.pod.datasource": ("CSVSource", "ParquetSource"),
        "fl_app.pod.definition": ("DateConfig", "Pod", "PodDataConfig", "PodDetailsConfig"),
        "fl_app.pod.policy": ("Policy",),
        "fl_app.privacy.settings": ("Privacy",),
        "fl_app.tabular.column_spec": ("ColumnSpec", "ProposedColumn"),
        "fl_app.tabular.early_stopping": ("EarlyStopping",),
        "fl_app.tabular.schema": ("Schema",),
        "fl_app.tabular.settings": ("DataStructure", "Optimizer"),
        "server.modeller.callbacks": ("Callback", "Run"),
        "server.modeller.classifier": ("PyTorchTabularClassifier",),
        "server.modeller.description": ("Description", "describe"),
        "server.modeller.regressor": ("PyTorchTabularRegressor",),
        "server.modeller.loggers": ("setup_loggers",),
        "server.modeller.schema_discovery": ("combine_pod_schemas", "get_pod_schema"),
        "server.modeller.folds.directory": ("CrossValidation",),
        "server.modeller.torch_model": ("TorchModel",),
        "server.modeller.tuning.directory": ("Tuning",),
        "server.modeller.tuning.space": ("TuningSpace",),
    }
)
"""The module that defines each name; the same as the imports above, which type checkers read."""


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'fl_app' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
