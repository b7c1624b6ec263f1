"""Files that several processes share, and where they are kept."""
