"""What each party of a run computes for itself, so that nothing the server says of it has to be believed."""
