from hypothesis import settings

settings.register_profile("text", deadline=None)  # the machine may be busy
settings.load_profile("text")
