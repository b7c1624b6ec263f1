"""The hub's roles of the server's side: the modeller's, over runs and a federation, and the operator's."""
