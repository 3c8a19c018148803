"""The tests, mirroring the packages."""

from hypothesis import HealthCheck, settings

# The same cases on every machine; shared machines are slow at times.
settings.register_profile(
    "cellrot",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("cellrot")
