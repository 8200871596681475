"""`popnet link` and `popnet catchment`: what makes no sense is refused in the words that were typed."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from lab.cli import links
from lab.cli.app import app
from lab.driver import Lab, LabError
from topology.load import parse_world
from topology.plan import Plan
from topology.spec import LinkSpec

WORLD = (
    "popnet: 1\npops: {NRT: {region: 1}, IAD: {region: 2}, LHR: {region: 1}}\nvisitors: [tokyo]\n"
)


class FakeLab(Lab):
    plan = Plan.of(parse_world(WORLD))

    def __init__(self) -> None:
        self.used = [("NRT", "IAD"), ("IAD", "NRT"), ("LHR", "IAD")]

    def wan(self, operation: str, timeout: float = 30.0, **fields: Any) -> dict[str, Any]:
        assert operation == "links", "nothing may be changed"
        asked = self.used if fields.get("pairs") is None else fields["pairs"]
        spec = {name: getattr(LinkSpec(), name) for name in LinkSpec.__struct_fields__}
        counters: dict[str, Any] = {"packets": 0, "drops": {}}
        return {
            "links": [
                {"from": a, "to": b, "current": spec, "declared": spec, "counters": counters}
                for a, b in asked
            ]
        }


@pytest.fixture(autouse=True)
def _lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "open_lab", lambda name: FakeLab())
    monkeypatch.setattr(links.Lab, "open", lambda name: FakeLab())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("link set NRT IAD --rtt 400ms --one-way 3ms", "--rtt and --one-way both say the delay"),
        ("link set NRT IAD --rtt -5ms", "--rtt: found '-5ms', allowed: 0 or more"),
        ("link set NRT IAD --rate 0mbit", "--rate: found '0mbit', allowed: more than 0"),
        ("link set NRT NRT --down", "NRT NRT is no link; allowed: two different nodes"),
        (
            "catchment --address 198.18.9.9",
            "--address: found '198.18.9.9', allowed: 198.18.0.1 (visitors), 198.18.0.53 (DNS), "
            "198.18.1.1 to 198.18.1.10 or 198.18.2.1 to 198.18.2.10 (tunnels)",
        ),
    ],
)
def test_what_makes_no_sense(line: str, said: str) -> None:
    error = CliRunner().invoke(app, line.split()).exception
    assert isinstance(error, LabError)
    assert str(error).startswith(said)


def test_a_packet_has_some_size() -> None:
    assert CliRunner().invoke(app, ["link", "set", "NRT", "IAD", "--mtu", "3"]).exit_code == 2


def test_of_a_node_its_access_and_its_links() -> None:
    rows = CliRunner().invoke(app, ["link", "show", "NRT"]).stdout.splitlines()[1:]
    ends = [tuple(row.split()[:2]) for row in rows]
    assert ends == [("NRT", "(Internet)"), ("(Internet)", "NRT"), ("NRT", "IAD"), ("IAD", "NRT")]
