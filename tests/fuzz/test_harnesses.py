"""Every fuzzing harness over its seeds, and over what a moment of mutation makes of them. Longer: `make fuzz`."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import HARNESSES
from fuzz.written import bytes_of, document_of
from topology.document import read
from topology.load import parse_world, world_of

# These take milliseconds, the others tens of microseconds.
EXAMPLES = {"yaml": 40, "http2": 40}


@pytest.mark.parametrize("file", ["topology.yaml", "examples/rush-hour.yaml"])
def test_bytes_choose_the_world_that_they_were_made_of(file: str) -> None:
    root = Path(__file__).parents[2]
    text = (root / file).read_text("utf-8")
    document = read(document_of(bytes_of(text)), file)
    assert world_of(document, directory=root) == parse_world(text, directory=root)


@pytest.mark.parametrize("name", HARNESSES)
def test_seeds(name: str) -> None:
    harness = importlib.import_module(f"fuzz.{name}")
    assert len(harness.SEEDS) >= 3
    for seed in harness.SEEDS:
        harness.one(seed)


@st.composite
def mutated(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """A seed with pieces cut out, repeated, or replaced by other bytes, or by those of another seed."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        end = draw(st.integers(at, min(len(data), at + 64)))
        piece = draw(
            st.one_of(
                st.binary(max_size=8), st.sampled_from(seeds), st.just(bytes(data[at:end]) * 2)
            )
        )
        data[at:end] = piece
    return bytes(data)


@pytest.mark.parametrize("name", HARNESSES)
def test_mutations(name: str) -> None:
    harness = importlib.import_module(f"fuzz.{name}")

    @settings(
        max_examples=EXAMPLES.get(name, 100),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    @given(mutated(harness.SEEDS))
    def run(data: bytes) -> None:
        harness.one(data)

    run()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("lsa", b'[{"origin":"A\xff","seq":1}]'),
        ("lsa", b'[{"origin":"A","seq":1,"x":' + b"[" * 5000),
        ("pop_config", b"[" * 5000),
        ("pop_config", b'{"name":"\xde"}'),
        ("headers", b'{"src":"\xff"}'),
        ("headers", b'{"src":"a","x":' + b"[" * 5000),
        ("http2", b"\0\0\0\4\0\0\0\0\0\0\0\6\1\5\0\0\0\2\x82\x84\x87\x41\1a"),
        ("yaml", b"[" * 500),
        ("yaml", b'popnet: 1\n"a\\nb": 1 2'),
        ("yaml", b"%YAML 1.9\n---\na: b"),
        ("yaml", b'a: "\\UFFFFFFFF"'),
    ],
)
def test_what_was_found(name: str, data: bytes) -> None:
    importlib.import_module(f"fuzz.{name}").one(data)
