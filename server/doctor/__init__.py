"""Looking for problems in an installation."""
