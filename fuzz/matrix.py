"""What a world file names: a matrix of delays in CSV, a key set in JSON."""

from __future__ import annotations

from math import isfinite

from topology.check_security import key_set_problem
from topology.matrix import parse_matrix

_NODES = ("LHR", "FRA", "tokyo")
SEEDS = (
    b",LHR,FRA,tokyo\nLHR,,14,200\nFRA,15,,210\ntokyo,,,\n",
    b"LHR,FRA\n0,1\n2,0\n",
    b'x,"LHR",FRA\n"LHR",-1,nan\nLHX,1_0,1e999,\n\n',
    b'{"keys": [{"kty": "EC"}]}',
    b'{"keys": ' + b"[" * 500,
)


def one(data: bytes) -> None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    matrix = parse_matrix(text, "matrix.csv", _NODES)
    for row in matrix.one_way_ms.values():
        assert all(isfinite(delay) and delay >= 0 for delay in row.values())
    for problem in matrix.problems:
        assert str(problem).isprintable(), "an error of several lines"
        assert problem.found
        assert problem.allowed
        assert problem.line >= 1
        assert problem.column >= 1
    said = key_set_problem(text)
    assert said is None or said
