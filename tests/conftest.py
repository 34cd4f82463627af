"""Settings of every test run: property tests are reproducible, and slow machines do not fail them."""

from hypothesis import settings

settings.register_profile("repository", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("repository")
