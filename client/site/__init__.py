"""What a pod's owner runs at the site: node, guard, approvals, checks. Never part of the bundle."""
