"""From the plan of a world to the files that its processes are started with.

Identifiers and secrets of tunnels follow from the seed: two runs of one world are alike, and a connector's token
stays valid when the lab is brought up again. They guard nothing beyond an emulated network.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shlex
import uuid
from collections.abc import Callable, Mapping
from math import inf
from typing import Final

import msgspec

from lab import policy
from lab.rundir import RunDir
from pops.config import (
    Balancer,
    Damping,
    Dns,
    Health,
    Host,
    Limits,
    Overlay,
    PoolMember,
    PopConfig,
    Probe,
    Routing,
    Timeouts,
    Tunnel,
    TunnelsListen,
    Visitors,
)
from pops.config import Node as NamedAddress
from pops.config import Pop as PopEntry
from topology import addresses
from topology.model import Routing as WorldRouting
from topology.model_pools import LoadBalancer, parted
from topology.plan import LinkSpec, Plan
from topology.regions import REGIONS
from wan.agent.config import AgentConfig, Program

# (source, destination) -> one-way delay with both access lines; infinite when something on the way is down.
OneWay = Callable[[str, str], float]

_ACCOUNT: Final = "popnet"


def tunnel_identity(plan: Plan, name: str) -> Tunnel:
    def digest(what: str) -> bytes:
        return hashlib.sha256(f"{plan.seed}/{plan.name}/{name}/{what}".encode()).digest()

    return Tunnel(
        name=name,
        id=str(uuid.UUID(bytes=digest("id")[:16], version=4)),
        account_tag=hashlib.sha256(f"{_ACCOUNT}/{plan.name}".encode()).hexdigest()[:32],
        secret=base64.b64encode(digest("secret")).decode(),
    )


def token(tunnel: Tunnel) -> str:
    """What a connector is given: the three parts that name and prove a tunnel, as tunnel clients know it."""
    parts = {"a": tunnel.account_tag, "t": tunnel.id, "s": tunnel.secret}
    return base64.b64encode(msgspec.json.encode(parts)).decode()


def declared(plan: Plan) -> OneWay:
    return lambda source, destination: one_way(
        plan.access(source), plan.link(source, destination), plan.access(destination)
    )


def one_way(*line: LinkSpec | None) -> float:
    """Along an access line, a link, an access line."""
    specs = [spec for spec in line if spec is not None]
    return inf if any(spec.down for spec in specs) else sum(spec.one_way_s for spec in specs)


def pop_config(plan: Plan, run: RunDir, name: str) -> PopConfig:
    node = plan.nodes[name]
    region = node.region or REGIONS[0]
    regions = {number: list(group) for number, group in addresses.REGION_ANYCAST.items()}
    used = {entry.tunnel for entry in plan.world.dns.values() if entry.tunnel is not None}
    return PopConfig(
        name=name,
        address=node.address,
        region=region,
        country=node.country or "XX",
        admin=str(run.node(name) / "admin.sock"),
        events=str(run.events),
        policy=str(run.policy),
        visitors=Visitors(
            addresses=[addresses.VISITORS_ANYCAST],
            certificate=str(run.pki / "visitor.pem"),
            client_ca=str(run.pki / "ca.pem") if _wants_certificates(plan) else None,
        ),
        dns=Dns(addresses=[addresses.DNS_ANYCAST]),
        tunnels_listen=TunnelsListen(
            addresses=regions[region], certificate=str(run.pki / "tunnel.pem")
        ),
        overlay=Overlay(
            certificate=str(run.pki / f"overlay-{name}.pem"), ca=str(run.pki / "ca.pem")
        ),
        regions=regions,
        pops=[
            PopEntry(
                name=pop.name,
                address=pop.address,
                region=pop.region or REGIONS[0],
                lat=pop.lat,
                lon=pop.lon,
            )
            for pop in (plan.nodes[other] for other in plan.pops)
        ],
        neighbors=list(plan.neighbors(name)),
        nodes=[
            NamedAddress(name=one.name, address=one.address, country=one.country or None)
            for one in plan.nodes.values()
        ],
        hosts={
            host: Host(tunnel=entry.tunnel, load_balancer=entry.load_balancer)
            for host, entry in plan.world.dns.items()
        },
        load_balancers={
            name: _balancer(plan, name, balancer)
            for name, balancer in plan.world.load_balancers.items()
        },
        records=str(run.records),
        tunnels=[tunnel_identity(plan, one) for one in sorted({*plan.world.tunnels, *used})],
        routing=_routing(plan.world.routing, run),
        seed=plan.seed,
        limits=Limits(**msgspec.structs.asdict(plan.world.limits)),
        timeouts=Timeouts(**msgspec.structs.asdict(plan.world.timeouts)),
    )


def _balancer(plan: Plan, name: str, balancer: LoadBalancer) -> Balancer:
    checked = balancer.health
    # A service with several host names is asked by the one that leads here.
    hosts = [host for host, entry in plan.world.dns.items() if entry.load_balancer == name]
    affinity = balancer.affinity
    return Balancer(
        members=[
            PoolMember(tunnel=tunnel, site=site, weight=member.weight)
            for name, member in balancer.pool.items()
            for tunnel, site in [parted(name)]
        ],
        steering=balancer.steering,
        affinity=affinity.cookie if affinity is not None else None,
        affinity_s=affinity.ttl if affinity is not None else 0.0,
        fallback=balancer.fallback,
        health=Health(
            path=checked.path,
            host=hosts[0] if hosts else "",
            expect=list(checked.expect),
            every=checked.every,
            timeout=checked.timeout,
            fall=checked.fall,
            rise=checked.rise,
        ),
    )


def _routing(routing: WorldRouting, run: RunDir) -> Routing:
    damping = routing.damping
    estimator = routing.probe.estimator
    return Routing(
        algorithm=routing.algorithm,
        params=dict(routing.params),
        plugin=None if routing.source is None else str(run.algorithm(routing.algorithm)),
        beside=list(routing.beside),
        hop_limit=routing.hop_limit,
        probe=Probe(
            every=routing.probe.every,
            estimator=estimator if isinstance(estimator, str) else _lists(estimator),
            budget_per_s=routing.probe.budget_per_s,
        ),
        damping=Damping(
            min_gain_pct=damping.min_gain_pct,
            min_gain=damping.min_gain_ms / 1e3,
            hold=damping.hold,
            max_moved_pct=damping.max_moved_pct,
            interval=damping.interval,
        ),
    )


def _lists(
    estimator: Mapping[str, float | tuple[float, ...]],
) -> dict[str, float | list[float]]:
    return {name: list(one) if isinstance(one, tuple) else one for name, one in estimator.items()}


def write_algorithm(plan: Plan, run: RunDir) -> None:
    """The text of the algorithm, where that is a plug-in, as the file that PoPs are told of."""
    routing = plan.world.routing
    if routing.source is not None:
        path = run.algorithm(routing.algorithm)
        path.parent.mkdir(parents=True, exist_ok=True)
        _private(path, routing.source.encode())


def _wants_certificates(plan: Plan) -> bool:
    """Asking every visitor for a certificate costs each handshake a little: only a world with such rules does."""
    return any(rule.require == "mtls" for rule in plan.world.security)


def _log(run: RunDir, node: str, program: str) -> str:
    return str(run.node(node) / f"{program}.log")


def connector_names(plan: Plan, site: str) -> dict[str, tuple[str, int]]:
    """Program name -> (tunnel, connections wanted), in file order; the first is plainly `connector`."""
    found: dict[str, tuple[str, int]] = {}
    for connector in plan.world.sites[site].connectors:
        for tunnel, entry in plan.world.tunnels.items():
            if site in entry.sites and connector.tunnel in (None, tunnel):
                name = f"connector-{len(found) + 1}" if found else "connector"
                found[name] = (tunnel, connector.connections)
    return found


def connector_environment(plan: Plan, site: str, tunnel: str) -> dict[str, str]:
    """All that a tunnel client needs to be told; any of them, ours or cloudflared, takes it from here."""
    return {
        "TUNNEL_TOKEN": token(tunnel_identity(plan, tunnel)),
        "TUNNEL_URL": plan.world.sites[site].service.origin,
        "TUNNEL_TRANSPORT_PROTOCOL": "http2",
        "NO_AUTOUPDATE": "true",
    }


def node_environment(plan: Plan, node: str) -> dict[str, str]:
    """For a program that somebody runs inside `node`: at a site, what its first tunnel's client would be told."""
    for tunnel, entry in plan.world.tunnels.items():
        if node in entry.sites:
            return connector_environment(plan, node, tunnel)
    return {}


def _site_programs(plan: Plan, run: RunDir, site: str) -> list[Program]:
    world = plan.world.sites[site]
    programs = []
    if world.service.command is not None:
        programs.append(
            Program(
                name="service",
                arguments=tuple(shlex.split(world.service.command)),
                log=_log(run, site, "service"),
            )
        )
    elif world.service.hello:
        programs.append(
            Program(
                name="service",
                entry="lab.origin:main",
                log=_log(run, site, "service"),
                reports_ready=True,
            )
        )
    names = iter(connector_names(plan, site))
    for connector in world.connectors:
        for tunnel, entry in plan.world.tunnels.items():
            if site not in entry.sites or connector.tunnel not in (None, tunnel):
                continue
            name = next(names)
            environment = connector_environment(plan, site, tunnel)
            if connector.run == "cloudflared":
                command = os.environ.get("CLOUDFLARED") or "cloudflared"
                amount = ("--ha-connections", str(connector.connections))
                options = ("--edge-ip-version", "4", "--no-prechecks")
                program = Program(
                    name=name,
                    arguments=(command, "tunnel", *options, *amount, "run"),
                    environment=environment,
                    log=_log(run, site, name),
                )
            else:
                admin = str(run.node(site) / f"{name}.sock")
                amount = ("--ha-connections", str(connector.connections))
                program = Program(
                    name=name,
                    entry="tunnel_client.__main__:main",
                    arguments=("tunnel", *amount, "run"),
                    environment={**environment, "POPNET_ADMIN": admin},
                    log=_log(run, site, name),
                    reports_ready=True,
                )
            programs.append(program)
    return programs


def _programs(plan: Plan, run: RunDir, node: str) -> tuple[Program, ...]:
    match plan.nodes[node].kind:
        case "pop":
            return (
                Program(
                    name="pop",
                    entry="pops.__main__:main",
                    arguments=("--config", str(run.node(node) / "config.json")),
                    log=_log(run, node, "pop"),
                    reports_ready=True,
                ),
            )
        case "site":
            return tuple(_site_programs(plan, run, node))
        case _:
            return ()


def agent_config(plan: Plan, run: RunDir, name: str) -> AgentConfig:
    access = plan.access(name)
    return AgentConfig(
        node=name,
        address=plan.nodes[name].address,
        anycast=tuple(group.address for group in plan.anycast if name in group.members),
        mtu=access.mtu if access is not None else plan.world.internet.defaults.mtu or 1500,
        congestion=plan.congestion,
        wan=str(run.wan_socket),
        directory=str(run.node(name)),
        events=str(run.events),
        programs=_programs(plan, run, name),
    )


def write(plan: Plan, run: RunDir) -> None:
    """Every node's directory with agent.json, config.json where it is a PoP; and what all PoPs share."""
    policy.write(run.policy, policy.of_plan(plan))
    write_algorithm(plan, run)
    for name, node in plan.nodes.items():
        directory = run.node(name)
        directory.mkdir(parents=True, exist_ok=True)
        config = agent_config(plan, run, name)
        _private(directory / "agent.json", msgspec.json.encode(config))
        if node.kind == "pop":
            settings = pop_config(plan, run, name)
            _private(directory / "config.json", msgspec.json.encode(settings))


def _private(path: os.PathLike[str], content: bytes) -> None:
    """Tokens and secrets stand in these files."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
