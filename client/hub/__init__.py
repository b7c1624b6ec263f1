"""The pod owner's part of the hub: over the pod's ledger, approvals, apps and policy."""
