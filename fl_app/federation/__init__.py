"""Which pods there are and how they are reached."""
