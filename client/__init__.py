"""The pod at work: its data, its keys, its policy, its ledger, and the Flower handlers that answer for it."""
