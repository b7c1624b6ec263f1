"""Settings that all tests share."""

import os

from hypothesis import settings

# No deadline, for machines of any speed; in CI the same examples each time, elsewhere new ones.
settings.register_profile("fl-app", deadline=None, max_examples=60, derandomize="CI" in os.environ)
settings.load_profile("fl-app")
