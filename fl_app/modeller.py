"""What a modeller works with: ask pods for their schemas, train over them, keep and use the model.

::

    federation = Federation.load("hospitals")
    schema = combine_pod_schemas(["hospital-a", "hospital-b"], federation)
    model = PyTorchTabularClassifier(DataStructure(target="outcome"), schema, epochs=10)
    results = model.fit(["hospital-a", "hospital-b"], federation=federation)
    model.serialize("outcome.pt")
"""

from fl_app.aggregators import FederatedAveraging, SecureAggregator
from fl_app.asking import combine_pod_schemas, get_pod_schema
from fl_app.callbacks import Callback, Run
from fl_app.classifier import PyTorchTabularClassifier
from fl_app.early_stopping import EarlyStopping
from fl_app.federation import Federation
from fl_app.loggers import setup_loggers
from fl_app.tabular.datastructure import DataStructure
from fl_app.tabular.optimizer import Optimizer
from fl_app.tabular.schema import Schema

__all__ = [
    "Callback",
    "DataStructure",
    "EarlyStopping",
    "FederatedAveraging",
    "Federation",
    "Optimizer",
    "PyTorchTabularClassifier",
    "Run",
    "Schema",
    "SecureAggregator",
    "combine_pod_schemas",
    "get_pod_schema",
    "setup_loggers",
]
