"""Attacks on private runs: the noise, the bound of a row, and everything else that leaves a pod."""
