"""One request from inside a visitor of a running lab, phase by phase, by the probe `lab.probes.visit`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.driver import Lab, LabError

_RESOLVER = "198.18.0.53"


def visited(
    lab: Lab,
    visitor: str,
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 20.0,
    certificate: Path | None = None,
) -> dict[str, Any]:
    """What the probe answers; its `error` says why there was no response. LabError when the probe itself failed."""
    task = {
        "url": url,
        "method": method,
        "headers": dict(headers or {}),
        "resolver": _RESOLVER,
        "timeout_s": timeout_s,
        "ca": str(lab.dir.pki / "ca.pem"),
        "certificate": None if certificate is None else str(certificate),
    }
    done = lab.run(
        visitor,
        [sys.executable, "-m", "lab.probes.visit"],
        input=json.dumps(task).encode(),
        capture_output=True,
        timeout=6 * timeout_s,
    )
    if done.returncode != 0:
        raise LabError(f"the probe failed: {done.stderr.decode(errors='replace').strip()[-500:]}")
    visit: dict[str, Any] = json.loads(done.stdout)
    return visit
