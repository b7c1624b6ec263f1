"""The hub: pages over what a party may see, served to its own browser. Each role brings its pages; the rest is here."""
