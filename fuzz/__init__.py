"""Fuzzing: bytes for every parser that reads what a stranger wrote. Nothing but the parser's own error may come out.

A harness is a module with `one(data)`, which raises for a finding, and `SEEDS`, inputs that reach deep. It knows no
fuzzer: the tests run each over its seeds and their mutations for a moment (tests/fuzz), `make fuzz` runs each a
million times under atheris, which is guided by the branches that an input takes (libFuzzer).

    yaml.py        a world file's YAML                       topology.WorldError
    matrix.py      files that it names                       problems of the matrix
    world.py       what it says, and what that resolves to   topology.WorldError
    pop_config.py  a PoP's configuration in JSON             pops.config.ConfigError
    dns.py         a query at a PoP, a response at a stub    silence or a response; wire.dns.DnsError
    http1.py       requests and answers, in any pieces       wire.http1.Http1Error
    tunnel_rpc.py  Cap'n Proto on a control stream           wire.errors.RpcError
    lsa.py         what PoPs tell each other                 wire.errors.WireError
    headers.py     header codecs of tunnel and overlay       wire.errors.WireError
    http2.py       frames, by either engine                  wire.http2.engine.Http2Error
"""

HARNESSES = (
    "dns",
    "headers",
    "http1",
    "http2",
    "lsa",
    "matrix",
    "pop_config",
    "tunnel_rpc",
    "world",
    "yaml",
)
