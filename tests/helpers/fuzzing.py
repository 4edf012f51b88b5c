"""How many examples the tests that damage bytes at random try: many more with MICROSEG_FUZZ=1 (`make fuzz`)."""

import os

from hypothesis import HealthCheck, settings


def examples(usual: int, many: int) -> int:
    """Return `usual`, or `many` with MICROSEG_FUZZ=1."""
    return many if os.environ.get("MICROSEG_FUZZ") else usual


# Examples of one test share its temporary folder, and overwrite each other's files there.
fuzz = settings(
    max_examples=examples(40, 3000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
