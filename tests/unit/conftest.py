"""Property tests are the same on every run, and a busy machine does not fail them."""

from hypothesis import settings

settings.register_profile("pivot", deadline=None, derandomize=True, database=None)
settings.load_profile("pivot")
