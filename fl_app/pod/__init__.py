"""What a pod is, and the file it is written in."""
