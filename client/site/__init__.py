"""What a pod's owner runs at the site: SuperNode, guard, approvals, checks. Never part of the bundle."""
