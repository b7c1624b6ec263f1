"""A number learnt over pods, predicted and scored, as `docs/regression.md` says.

It runs in a directory whose fl-app.toml has a federation `laptop` of pods with a column `hours`, and with rows of your
own in public.csv.
"""

from fl_app import DataStructure, EarlyStopping, Federation, PyTorchTabularRegressor, combine_pod_schemas

federation = Federation.load("laptop")
schema = combine_pod_schemas(federation=federation)
model = PyTorchTabularRegressor(DataStructure(target="hours", ignore_cols=["note"]), schema, loss="absolute")
rounds = model.fit(federation=federation, early_stopping=EarlyStopping(metric="mae", patience=3))
print(f"{len(rounds)} rounds; mean absolute error {model.kept['mae']:.2f}, R2 {model.kept['r2']:.3f}")
predicted = model.predict("public.csv")
print(predicted.describe())
metrics = model.evaluate("public.csv")
model.serialize("hours.safetensors")
