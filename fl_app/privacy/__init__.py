"""How much a run tells of any one row, and what that costs an owner's budget: settings, plan and accounting."""
