"""Settings for a table, found in short runs, and the best of them trained: `docs/tune.md` in Python.

It runs in a directory whose fl-app.toml has a federation `laptop`, with rows of your own in public.csv.
"""

from fl_app import DataStructure, Federation, PyTorchTabularClassifier, TuningSpace, combine_pod_schemas

federation = Federation.load("laptop")
schema = combine_pod_schemas(federation=federation)
model = PyTorchTabularClassifier(DataStructure(target="outcome"), schema)
space = TuningSpace(architecture=["linear"], batch_size=[32, 64])
tuning = model.tune(federation=federation, space=space, trials=2, min_rounds=1)
print(tuning.best.settings, model.evaluate("public.csv")["auc"])
model.serialize("tuned.safetensors")
