"""Settings of every run: property tests are reproducible, slow machines do not fail them, every operator is there."""

from hypothesis import settings

from toolkit.operators import load_everything

settings.register_profile("repository", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("repository")
load_everything()
