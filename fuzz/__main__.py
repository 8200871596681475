"""`python -m fuzz NAME [-runs=N] [-max_total_time=S] [INPUT...]`: one harness under atheris, with libFuzzer's options.

Inputs it finds worth keeping go into `.fuzz/NAME`, so that the next run starts where this one ended; an input that
breaks something is written there too, and naming it runs it alone.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from fuzz import HARNESSES

# Whose branches guide: ours, and the libraries in Python that read the bytes for us.
INSTRUMENTED = [
    "topology",
    "routing",
    "wire",
    "pops",
    "dns.message",
    "dns.wire",
    "dns.name",
    "dns.edns",
]
# The parser is a library's, in Python: its branches tell what YAML is; elsewhere they would only cost time.
ALSO = {"yaml": ["ruamel.yaml.scanner", "ruamel.yaml.parser", "ruamel.yaml.composer"]}
# An input longer than this teaches nothing that a shorter one does not.
LONGEST = {"world": 128, "yaml": 256, "pop_config": 1024, "http2": 512}


def main() -> int:
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name == "--list":
        print(*HARNESSES)
        return 0
    if name not in HARNESSES:
        print(
            f"no harness {name!r}; there are {', '.join(HARNESSES)}\n\n{__doc__}", file=sys.stderr
        )
        return 2
    try:
        import atheris
    except ImportError:
        print("atheris is not installed: make fuzz", file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=INSTRUMENTED + ALSO.get(name, [])):
        harness = importlib.import_module(f"fuzz.{name}")
        # What is imported when it is first needed, as the HTTP/2 engines are, is to guide as well.
        for seed in harness.SEEDS:
            harness.one(seed)

    corpus = Path(".fuzz") / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(harness.SEEDS):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = sys.argv[2:]
    places = [] if any(not option.startswith("-") for option in options) else [str(corpus)]
    most = LONGEST.get(name, 2048)
    argv = [
        sys.argv[0],
        f"-max_len={most}",
        f"-artifact_prefix={corpus}/",
        "-timeout=10",
        *options,
        *places,
    ]
    atheris.Setup(argv, harness.one)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
