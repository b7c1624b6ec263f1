import logging
from pathlib import Path

import nest_asyncio

from fl_app import (
    DataStructure,
    Optimizer,
    PyTorchTabularClassifier,
    Schema,  # noqa: F401
    SecureAggregator,
    combine_pod_schemas,
    get_pod_schema,  # noqa: F401
    setup_loggers,
)

nest_asyncio.apply()  # Needed because Jupyter also has an asyncio loop

loggers = setup_loggers([logging.getLogger("fl_app")])

first_pod_identifier = "census-income-demo-dataset"
second_pod_identifier = "census-income-yaml-demo-dataset"

datastructure = DataStructure(
    target="TARGET",
    table={
        "census-income-demo-dataset": "census-income-demo-dataset",
        "census-income-yaml-demo-dataset": "census-income-yaml-demo-dataset",
    },
)
schema = combine_pod_schemas([first_pod_identifier, second_pod_identifier])

model = PyTorchTabularClassifier(
    datastructure=datastructure,
    schema=schema,
    epochs=2,
    batch_size=64,
    optimizer=Optimizer(name="SGD", params={"lr": 0.001}),
)

results = model.fit(
    pod_identifiers=[first_pod_identifier, second_pod_identifier],
    aggregator=SecureAggregator(),
)
print(results)

model_out = Path("training_a_model_on_two_pods.pt")
model.serialize(model_out)
