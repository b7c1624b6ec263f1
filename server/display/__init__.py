"""Runs shown: on a terminal, in a notebook, as a page."""
