"""Runs on a SuperLink, with the ServerApp in the modeller's directory."""
