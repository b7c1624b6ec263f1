"""Settings that all tests share."""

from hypothesis import settings

settings.register_profile("fl-app", deadline=None, max_examples=60)  # machines of any speed
settings.load_profile("fl-app")
