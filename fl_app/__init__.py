"""Train one tabular model over pods that never show their data.

The names below are all that a modeller or a pod's owner needs; each is imported when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fl_app.modeller import (
        Callback,
        DataStructure,
        EarlyStopping,
        FederatedAveraging,
        Federation,
        Optimizer,
        PyTorchTabularClassifier,
        Run,
        Schema,
        SecureAggregator,
        combine_pod_schemas,
        get_pod_schema,
        setup_loggers,
    )
    from fl_app.pods import CSVSource, ParquetSource, Pod, PodDataConfig, PodDetailsConfig, Policy

__all__ = [
    "CSVSource",
    "Callback",
    "DataStructure",
    "EarlyStopping",
    "FederatedAveraging",
    "Federation",
    "Optimizer",
    "ParquetSource",
    "Pod",
    "PodDataConfig",
    "PodDetailsConfig",
    "Policy",
    "PyTorchTabularClassifier",
    "Run",
    "Schema",
    "SecureAggregator",
    "combine_pod_schemas",
    "get_pod_schema",
    "setup_loggers",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'fl_app' has no attribute {name!r}")
    from fl_app import pods  # light, and most of what a pod file asks for

    if name in pods.__all__:
        return getattr(pods, name)
    from fl_app import modeller

    return getattr(modeller, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
