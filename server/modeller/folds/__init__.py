"""`fl-app fit --folds`: runs of the same settings, in each of which pods hold out another fold of their rows."""
