"""A network of one's own, trained over pods, as `docs/own-network.md` says.

It runs in a directory with network.py beside this file, whose fl-app.toml has a federation `laptop` of pods with a
column `outcome`, and with rows of your own in public.csv.
"""

from fl_app import DataStructure, Federation, Optimizer, TorchModel, combine_pod_schemas

federation = Federation.load("laptop")
schema = combine_pod_schemas(federation=federation)
optimizer = Optimizer(name="AdamW", params={"lr": 0.003})
model = TorchModel("network.py", DataStructure(target="outcome"), schema, epochs=4, optimizer=optimizer)
rounds = model.fit(federation=federation)
print(f"{len(rounds)} rounds; AUC {model.kept['auc']:.3f}")
metrics = model.evaluate("public.csv")
model.serialize("own.safetensors")
