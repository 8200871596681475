"""A PoP's numbers under their Prometheus names."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pops.core.balancer import State
from pops.drivers.stats import BUCKETS, ROLES
from runtime.metrics import Counter, Family, Gauge, Histogram

if TYPE_CHECKING:
    from pops.pop import Pop


def collect(pop: Pop) -> Iterator[Family]:
    yield Gauge("popnet_pop_ready", "1 while the PoP takes new work.", [({}, float(pop.ready))])
    yield from _requests(pop)
    yield from _visitors(pop)
    yield from _tunnels(pop)
    yield from _overlay(pop)
    yield from _hardening(pop)
    yield Counter(
        "popnet_pop_security_verdicts",
        "Requests by the security rule that decided, passed or refused, and by each that logged them.",
        [
            ({"rule": rule, "verdict": verdict}, count)
            for (rule, verdict), count in sorted(pop.security.hits.items())
        ],
    )
    yield from _pools(pop)
    yield Counter(
        "popnet_pop_dns_responses",
        "DNS responses by transport and RCODE.",
        [
            ({"transport": transport, "rcode": str(rcode)}, count)
            for (transport, rcode), count in sorted(pop.dns_stats.answers.items())
        ],
    )


def _pools(pop: Pop) -> Iterator[Family]:
    balancers = pop.balancers
    names = balancers.names
    members = [
        ({"pool": pool, "member": names.get(one.tunnel, one.tunnel)}, one.tunnel)
        for pool, each in sorted(balancers.pools.items())
        for one in each.members
    ]
    conditions = {tunnel: balancers.condition(tunnel) for _, tunnel in members}
    yield Gauge(
        "popnet_pop_pool_member_up",
        "1 while this PoP sends requests of the pool to the member.",
        [(labels, float(conditions[tunnel].serves)) for labels, tunnel in members],
    )
    yield Counter(
        "popnet_pop_pool_chosen",
        "Requests that a member of a pool was chosen for, each time one was sent to it.",
        [(labels, balancers.chosen[labels["pool"], labels["member"]]) for labels, _ in members],
    )
    tunnels = sorted({labels["member"]: tunnel for labels, tunnel in members}.items())
    yield Gauge(
        "popnet_pop_pool_outstanding",
        "Requests of pools under way to a member.",
        [({"member": name}, balancers.outstanding[tunnel]) for name, tunnel in tunnels],
    )
    yield Gauge(
        "popnet_pop_pool_member_state",
        "1 for the state that this PoP sees the member in: health checks say down, own requests left alone.",
        [
            ({**labels, "state": state.value.replace(" ", "_")}, float(state is known.state))
            for labels, tunnel in members
            for known in [conditions[tunnel]]
            for state in State
        ],
    )
    patients = [
        ({"member": one.tunnel_name, "site": one.site, "connector": one.connector}, patient)
        for one, patient in balancers.checks.patients()
    ]
    yield Gauge(
        "popnet_pop_pool_check_flapping",
        "1 while a service that is checked from here went down soon after its last return.",
        [(labels, float(patient.flapping)) for labels, patient in patients],
    )
    yield Gauge(
        "popnet_pop_pool_check_successes_missing",
        "Successes in a row that a service that is checked from here still needs to be up again.",
        [(labels, float(patient.missing)) for labels, patient in patients],
    )
    checked = sorted({labels["member"].partition("@")[0] for labels, _ in members})
    yield Counter(
        "popnet_pop_pool_checks",
        "Health checks of members whose tunnel ends here, by result.",
        [
            ({"member": name, "result": result}, balancers.checks.counts[name, result])
            for name in checked
            for result in ("ok", "failed")
        ],
    )
    yield Gauge(
        "popnet_pop_pool_check_seconds",
        "Smoothed round trip of the health checks of a member, as this PoP knows it.",
        [
            ({"member": name}, conditions[tunnel].check_s)
            for name, tunnel in tunnels
            if conditions[tunnel].check_s
        ],
    )


def _hardening(pop: Pop) -> Iterator[Family]:
    visitors = pop.visitors.snapshot()
    yield Counter(
        "popnet_pop_visitor_connections_refused",
        "Connections of visitors refused: too many of all, of one address, or an address that flooded.",
        [
            (
                {"limit": "visitor_connections"},
                visitors.refused - visitors.refused_by_address - visitors.refused_by_penalty,
            ),
            ({"limit": "connections_per_visitor"}, visitors.refused_by_address),
            ({"limit": "penalty"}, visitors.refused_by_penalty),
        ],
    )
    yield Counter(
        "popnet_pop_visitor_penalties",
        "Times that an address of visitors was kept outside for a while, because it flooded.",
        [({}, visitors.penalties)],
    )
    yield Counter(
        "popnet_pop_visitor_streams_refused",
        "HTTP/2 streams refused: those of their connection, or of their address, were too many.",
        [
            ({"limit": "streams_per_visitor"}, visitors.streams_refused_by_connection),
            ({"limit": "streams_per_address"}, visitors.streams_refused_by_address),
        ],
    )
    doors = {"visitors": visitors.cut, "tunnels": pop.tunnels.cut, "overlay": pop.overlay.cut}
    yield Counter(
        "popnet_pop_http2_connections_cut",
        "HTTP/2 connections ended for what came on them: floods, malformed frames, timeouts.",
        [
            ({"door": door, "error": error}, count)
            for door, cut in doors.items()
            for error, count in sorted(cut.items())
        ],
    )
    yield Counter(
        "popnet_pop_overlay_strangers",
        "Link state refused: its sender has a certificate, and is no neighbour.",
        [({}, pop.overlay.strangers)],
    )
    yield Counter(
        "popnet_pop_lsa_hearsay",
        "LSAs refused: they speak of a neighbour that speaks to us itself.",
        [({}, pop.link_state.flooding.hearsay)],
    )
    stats = pop.dns_stats
    yield Counter(
        "popnet_pop_dns_limited",
        "UDP queries of sources that ask too much, by what they got.",
        [({"answer": "truncated"}, stats.truncated), ({"answer": "none"}, stats.silenced)],
    )


def _requests(pop: Pop) -> Iterator[Family]:
    stats = pop.proxy.stats
    yield Counter(
        "popnet_pop_requests",
        "Response heads by the role of this PoP and by status.",
        [
            ({"role": role, "status": status.decode("latin-1")}, count)
            for (role, status), count in sorted(stats.requests.items())
        ],
    )
    yield Histogram(
        "popnet_pop_response_head_seconds",
        "From passing a request on until its response head, by role.",
        BUCKETS,
        [({"role": role}, stats.head_buckets[role], stats.head_sum[role]) for role in ROLES],
    )
    by_role = [
        ("popnet_pop_request_body_bytes", "Bytes of request bodies passed on.", stats.bytes_up),
        ("popnet_pop_response_body_bytes", "Bytes of response bodies passed on.", stats.bytes_down),
        ("popnet_pop_requests_aborted", "Requests that did not end well.", stats.aborted),
    ]
    for name, text, values in by_role:
        yield Counter(name, text, [({"role": role}, values[role]) for role in ROLES])
    yield Counter(
        "popnet_pop_faults",
        "Responses made by this PoP because something failed, by reason.",
        [({"reason": reason}, count) for reason, count in sorted(stats.refusals.items())],
    )
    yield Counter(
        "popnet_pop_retries",
        "Requests sent again, by what had failed.",
        [({"reason": reason}, count) for reason, count in sorted(stats.retries.items())],
    )
    yield Counter(
        "popnet_pop_retries_refused",
        "Requests that could have been sent again, had there been budget for it.",
        [({}, stats.retries_refused)],
    )
    yield Gauge("popnet_pop_exchanges", "Requests under way.", [({}, len(pop.proxy.exchanges))])


def _visitors(pop: Pop) -> Iterator[Family]:
    snapshot = pop.visitors.snapshot()
    yield Gauge(
        "popnet_pop_visitor_connections",
        "Connections of visitors open now.",
        [({}, snapshot.connections)],
    )
    yield Counter(
        "popnet_pop_visitor_connections_accepted",
        "Connections of visitors accepted.",
        [({}, snapshot.accepted)],
    )
    yield Counter(
        "popnet_pop_bad_requests",
        "Bytes that were no HTTP/1.1 request, by status of the answer.",
        [({"status": str(status)}, n) for status, n in sorted(pop.visitors.bad_requests.items())],
    )


def _tunnels(pop: Pop) -> Iterator[Family]:
    tunnels = pop.tunnels
    held = Tally(connection.tunnel_name for connection in pop.registry)
    yield Gauge(
        "popnet_pop_tunnel_connections",
        "Registered tunnel connections that end here.",
        [({"tunnel": tunnel.name}, held[tunnel.name]) for tunnel in pop.config.tunnels],
    )
    yield Gauge(
        "popnet_pop_tunnel_rtt_seconds",
        "Smoothed RTT of a tunnel connection, by PING.",
        [
            ({"tunnel": c.tunnel_name, "connector": c.connector, "index": str(c.index)}, c.rtt_s)
            for c in sorted(pop.registry, key=lambda c: c.name)
        ],
    )
    counters = [
        ("popnet_pop_tunnel_registrations", "Connections that registered.", tunnels.registered),
        ("popnet_pop_tunnel_losses", "Registered connections that went away.", tunnels.lost),
        ("popnet_pop_tunnel_probes", "Connections closed before registering.", tunnels.probes),
    ]
    for name, text, value in counters:
        yield Counter(name, text, [({}, value)])
    yield Counter(
        "popnet_pop_tunnel_refusals",
        "Connections refused, by cause.",
        [({"cause": cause}, count) for cause, count in sorted(tunnels.refused.items())],
    )


def _overlay(pop: Pop) -> Iterator[Family]:
    neighbors = pop.overlay.neighbors
    yield Gauge(
        "popnet_pop_overlay_up",
        "1 while both connections to the neighbour are up.",
        [({"neighbor": name}, float(one.up)) for name, one in neighbors.items()],
    )
    yield from _measured(pop)
    yield Gauge(
        "popnet_pop_reachable_pops",
        "PoPs with a live way from here, this one included.",
        [({}, len(pop.lsdb.reachable()))],
    )


def _measured(pop: Pop) -> Iterator[Family]:
    prober = pop.link_state.probes.prober
    found = {name: prober.measurement(name) for name in pop.overlay.neighbors}
    links = [({"neighbor": name}, one) for name, one in found.items() if one is not None]
    yield Gauge(
        "popnet_pop_overlay_rtt_seconds",
        "Estimated RTT to the neighbour.",
        [(labels, one.rtt_s) for labels, one in links],
    )
    yield Gauge(
        "popnet_pop_overlay_jitter_seconds",
        "Smoothed difference between one RTT to the neighbour and the next (RFC 3550).",
        [(labels, one.jitter_s) for labels, one in links],
    )
    yield Gauge(
        "popnet_pop_overlay_loss_ratio",
        "Share of the last probes to the neighbour that got no answer in time.",
        [(labels, one.loss) for labels, one in links],
    )
    yield Counter("popnet_pop_probes", "Probes sent to neighbours.", [({}, prober.sent)])
    yield Counter(
        "popnet_pop_probes_lost", "Probes that got no answer in time.", [({}, prober.lost)]
    )
    yield Counter(
        "popnet_pop_links_dead",
        "Links given up because nothing was heard.",
        [({}, pop.link_state.deaths)],
    )
    flooding = pop.link_state.flooding
    kinds = {
        "originated": flooding.originated,
        "received": flooding.received,
        "duplicate": flooding.duplicates,
        "hearsay": flooding.hearsay,
        "sent": flooding.sent,
    }
    yield Counter(
        "popnet_pop_lsas",
        "Link-state advertisements: own ones told, new ones heard, heard again, passed to neighbours.",
        [({"kind": kind}, count) for kind, count in kinds.items()],
    )
    yield Counter(
        "popnet_pop_lsa_messages",
        "Messages of link state sent, by kind.",
        [({"kind": "lsas"}, flooding.posts), ({"kind": "digest"}, flooding.digests)],
    )
    yield Gauge(
        "popnet_pop_lsa_age_seconds",
        "Age of the newest advertisement of each PoP.",
        [({"origin": name}, age) for name, age in pop.lsdb.ages(pop.clock()).items()],
    )
    table = pop.table.snapshot(pop.clock())
    yield Counter(
        "popnet_pop_route_changes",
        "Changes of the best path to a tunnel, by reason.",
        [({"reason": reason}, count) for reason, count in sorted(table.changed.items())],
    )
    yield Counter(
        "popnet_pop_recomputations",
        "How often the routes were worked out.",
        [({}, pop.ways.recomputations)],
    )
    yield Counter(
        "popnet_pop_recomputation_seconds",
        "Time that took.",
        [({}, pop.ways.seconds)],
    )
