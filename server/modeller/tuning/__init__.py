"""`fl-app tune`: settings are drawn from a space, tried in short runs, and the better ones in longer ones."""
