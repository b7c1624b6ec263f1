"""Secure aggregation by additive secret sharing, sans-IO: knows neither Flower nor torch nor pandas."""
