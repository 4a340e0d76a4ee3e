"""Settings of the whole suite."""

from hypothesis import settings

# Kernels compile and pages load inside the first example: a deadline per example would measure the machine.
settings.register_profile("cellserve", deadline=None)
settings.load_profile("cellserve")
