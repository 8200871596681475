"""How properties are looked for: the same examples in every run, without a watch on how long each takes.

A suite that anybody runs on any machine must not fail by luck. Who wants to search for new examples runs
`pytest --hypothesis-profile search`; the parsers have harnesses of their own for that (fuzz/).
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "suite",
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile("suite")
