"""The protocol's test vectors, one module for each kind."""
