"""Many pages of metrics made one."""

from __future__ import annotations

from lab.metrics import merge

PAGE = """# HELP a_total How many.
# TYPE a_total counter
a_total 1
a_total{kind="x y"} 2
# HELP b_seconds How long.
# TYPE b_seconds histogram
b_seconds_bucket{le="0.1"} 3
b_seconds_sum 4
"""


def test_samples_get_labels_and_families_their_head_once() -> None:
    merged = merge([({"node": "NRT"}, PAGE), ({"node": "LHR"}, PAGE)])
    assert merged == [
        "# HELP a_total How many.",
        "# TYPE a_total counter",
        'a_total{node="NRT"} 1',
        'a_total{node="NRT",kind="x y"} 2',
        'a_total{node="LHR"} 1',
        'a_total{node="LHR",kind="x y"} 2',
        "# HELP b_seconds How long.",
        "# TYPE b_seconds histogram",
        'b_seconds_bucket{node="NRT",le="0.1"} 3',
        'b_seconds_sum{node="NRT"} 4',
        'b_seconds_bucket{node="LHR",le="0.1"} 3',
        'b_seconds_sum{node="LHR"} 4',
    ]


def test_braces_in_a_value_are_not_labels() -> None:
    assert merge([({"n": "A"}, 'x{p="/{id}"} 1\ny{} 2\n')]) == [
        'x{n="A",p="/{id}"} 1',
        'y{n="A"} 2',
    ]
