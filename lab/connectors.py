"""How the connectors of a running lab are, asked of themselves."""

from __future__ import annotations

from typing import Any

from lab import adminhttp, configs
from lab.driver import Lab
from lab.jsonlines import UnreachableError


def connectors(lab: Lab) -> list[dict[str, Any]]:
    """One entry a connector: site, name, tunnel, wanted, ready, pops (the PoP of each connection that is up), and
    whether it answers."""
    found = []
    for site in lab.plan.world.sites:
        for name, (tunnel, wanted) in configs.connector_names(lab.plan, site).items():
            answers, ready, pops = _ask(lab, site, name)
            found.append(
                {
                    "site": site,
                    "name": name,
                    "tunnel": tunnel,
                    "wanted": wanted,
                    "ready": ready,
                    "pops": pops,
                    "answers": answers,
                }
            )
    return found


def _ask(lab: Lab, site: str, name: str) -> tuple[bool, int, list[str]]:
    path = lab.admin_socket(site, name)
    try:
        status = adminhttp.request(path, "GET", "/status", timeout=2.0).json()
    except (UnreachableError, ValueError):
        return False, 0, []
    serving = [one for one in status["connections"] if one["state"] == "serving"]
    return True, int(status["ready"]), sorted(str(one["location"]) for one in serving)
