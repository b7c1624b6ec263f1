"""``fl-app pod``: the pod owner's commands, one file for each of the owner's tasks."""
