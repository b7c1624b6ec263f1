"""Train one tabular model over pods that never show their data."""
