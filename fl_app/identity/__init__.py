"""Keys, cards, and the list of known pods."""
