from hypothesis import settings

# The first TensorFlow call of a test takes far longer than the rest: no time limit a case.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
