"""The unmodified cloudflared as a site's connector, in the lab as a user would start it: CLOUDFLARED=path."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.driver import Lab

from .conftest import SMALL_WORLD, Popnet

CLOUDFLARED = os.environ.get("CLOUDFLARED", "")
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        not CLOUDFLARED,
        reason="CLOUDFLARED=path is not set: NOT tested with real cloudflared in a lab",
    ),
]


@pytest.fixture(scope="module")
def lab(popnet: Popnet, base: Path) -> Iterator[Lab]:
    """A world whose site brings no connector of its own."""
    world = base.with_name("bare.yaml")
    world.write_text(SMALL_WORLD.replace("{service: hello}", "{service: hello, connectors: []}"))
    popnet("up", str(world), "-n", "c", "--detach")
    yield Lab(popnet.run_dir("c"))
    popnet("down", "-n", "c", code=None)


def places(lab: Lab) -> Counter[str]:
    return Counter(pop for pop in lab.plan.pops for _ in lab.admin(pop, "GET", "/tunnels").json())


def test_it_registers_four_connections_and_serves(popnet: Popnet, lab: Lab, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(os.urandom(5_000_000))
    with popnet.popen("exec", "-n", "c", "dublin", "--", CLOUDFLARED, "tunnel", "run") as client:
        try:
            deadline = time.monotonic() + 40
            while places(lab).total() < 4:
                assert time.monotonic() < deadline, places(lab)
                assert client.poll() is None, "cloudflared ended"
                time.sleep(0.2)
            # Found by its own SRV look-up: two at the closest PoP of each region.
            assert places(lab) == {"LHR": 2, "FRA": 2}
            url = "https://app.example.com"
            page = popnet("curl", "-n", "c", "--from", "london", f"{url}/", "-sSfi")
            assert page.startswith("HTTP/2 200")
            assert re.search(r"^cf-ray: [0-9a-f]+-LHR\s*$", page, re.MULTILINE), page
            answer = popnet(
                *("curl", "-n", "c", "--from", "new-york", f"{url}/sha256", "-sSf"),
                *("--data-binary", f"@{body}"),
            )
            assert hashlib.sha256(body.read_bytes()).hexdigest() in answer
        finally:
            client.send_signal(signal.SIGTERM)
        # The PoPs close what has drained, or it would sit there for its grace period of 30 s.
        client.wait(timeout=10)
    deadline = time.monotonic() + 5
    while places(lab).total():
        assert time.monotonic() < deadline, places(lab)
        time.sleep(0.1)
