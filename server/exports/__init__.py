"""Trained models in forms that other programs read: raw columns in, class probabilities out, and a card beside it."""
