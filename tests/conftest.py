"""No test depends on time: a busy machine must not make a property false."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
