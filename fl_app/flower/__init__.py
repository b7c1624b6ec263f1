"""The protocol's messages as Flower's records, and the names that both halves use."""
