"""A party's identity key, and the list of the keys of other pods."""
