"""The text of a world file: YAML that people write, up to the document; what it says is harness `world`."""

from __future__ import annotations

from topology.document import parse
from topology.problems import WorldError

SEEDS = (
    b"popnet: 1\nname: small # of two\npops: {LHR: {region: 1}, x: {at: [1, -2.5e3]}}\n",
    b"a:\n- b: &b {c: 0x1F}\n  d: *b\n- <<: [*b]\n  e: ~\n",
    b"a: |\n  text\n\n   more\nb: >-\n  folded\n  lines\n",
    b"\"a\\x41\\u0042\": 'it''s'\n? [b]\n: !!str c\n",
    b"%YAML 1.2\n%TAG ! tag:x,2000:\n---\na: !y b\n...\n",
    b"[" * 200,
    b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
    b"a: b: c",
    b"\xef\xbb\xbfa: \xc3\xa9\n",
)


def one(data: bytes) -> None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    try:
        document = parse(text, "world.yaml")
    except WorldError as error:
        assert error.problems
        problems = error.problems
    else:
        problems = tuple(document.problems)
        assert all(spot >= (1, 1) for spot in document.values.values())
    for problem in problems:
        assert str(problem).isprintable(), "an error of several lines"
        assert problem.found
        assert problem.allowed
