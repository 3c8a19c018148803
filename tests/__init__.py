"""The tests, mirroring the packages."""

import signal

from hypothesis import HealthCheck, settings

# The same cases on every machine; shared machines are slow at times.
settings.register_profile(
    "cellrot",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("cellrot")

# A shell lets its background jobs ignore Ctrl-C, and what they start would too.
signal.signal(signal.SIGINT, signal.default_int_handler)
