"""Files that several processes share, and the home directory they are in."""
