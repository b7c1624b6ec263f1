"""The names of the networks, to be had without loading torch."""

ARCHITECTURES = ("mlp", "periodic", "tabm", "tutorial")
DEFAULT_ARCHITECTURE = "mlp"
