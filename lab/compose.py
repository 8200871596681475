"""A world as containers: what each container is, and the compose file that says so.

Everything is one image. `world` prepares the shared volume and ends; `wan` carries the packets; `lab` is the control
and the only one with a network of the engine's; each node has none at all but `wan0`, which its agent makes.
`containers()` is what the docker driver starts; `text()` is the same for `docker compose`, written for people.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.gateway.ports import PUBLISHED_SOCKS, PUBLISHED_WEB, SOCKS_PORT, WEB_PORT
from lab.isolation import DNS_ADDRESS
from lab.rundir import RUN_VARIABLE, RunDir
from topology.plan import Plan
from wan import tun

IMAGE: Final = "popnet"
# Unlike that of any lab of the machine itself: `popnet down` finds processes of a local lab by this path.
BASE: Final = "/run/lab"
USER: Final = "popnet"
STOP_S: Final = 15

# Containers of every lab; no node may have such a name.
WORLD, WAN, LAB = "world", "wan", "lab"
RESERVED: Final = (WORLD, WAN, LAB, "prometheus", "grafana")

ROLE_LABEL: Final = "popnet.role"
NODE_LABEL: Final = "popnet.node"

# For a control whose starter waits for it: what goes wrong before all is ready ends it.
ALL_OR_NOTHING: Final = "POPNET_ALL_OR_NOTHING"

DNS_OPTIONS: Final = ("timeout:1", "attempts:3")

# IPv6 is off where there is no network of the engine's; /proc/sys is read-only inside, so all the rest is said here.
SYSCTLS: Final[Mapping[str, str]] = {
    **{
        name.replace("/", "."): value
        for name, value, _ in tun.SYSCTLS
        if not name.startswith("net/ipv6")
    },
    "net.ipv4.ping_group_range": tun.PING_GROUPS[-1],
}

_SERVICE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]*")


class ComposeError(Exception):
    """This world cannot be containers; the text says why."""


@dataclass(frozen=True, slots=True)
class Container:
    """`role`: world, wan, lab, pop, visitor or site. `node`: a node's own, with its door to the WAN."""

    name: str
    role: str
    command: tuple[str, ...]

    @property
    def node(self) -> bool:
        return self.role in ("pop", "visitor", "site")

    @property
    def labels(self) -> dict[str, str]:
        node = {NODE_LABEL: self.name} if self.node else {}
        return {ROLE_LABEL: self.role, **node}


def run_dir(name: str) -> RunDir:
    """Of the lab of this name, as its containers see it."""
    return RunDir(Path(BASE, name))


def health_command(run: RunDir) -> tuple[str, ...]:
    """Waits for news (see lab/control.py), so it may be asked again at once and still costs next to nothing."""
    path = str(run.path / "health.sock")
    return ("curl", "-sSf", "--unix-socket", path, "http://lab/health")


def common_environment(run: RunDir) -> dict[str, str]:
    return {RUN_VARIABLE: str(run.path)}


def node_environment(run: RunDir) -> dict[str, str]:
    return {
        **common_environment(run),
        "SSL_CERT_FILE": str(run.etc / "ca-bundle.pem"),
    }


def hosts(plan: Plan) -> dict[str, str]:
    """What every node knows without asking the DNS."""
    return {node.name: node.address for node in plan.nodes.values()}


def containers(plan: Plan, run: RunDir, world_file: str) -> tuple[Container, ...]:
    """In the order in which they may start; `world` must have ended well before the others do. ComposeError."""
    for name in plan.nodes:
        if name.casefold() in RESERVED or not _SERVICE.fullmatch(name):
            raise ComposeError(
                f"a node named {name!r} cannot be a container: letters, digits, . _ - "
                f"(not {', '.join(RESERVED)})"
            )
    files = ("--world", str(run.world), "--socket", str(run.wan_socket))
    return (
        Container(WORLD, WORLD, ("python", "-m", "lab.control_world", world_file)),
        Container(WAN, WAN, ("python", "-m", "wan", *files, "--events", str(run.events))),
        Container(LAB, LAB, ("python", "-m", "lab.control")),
        *(
            Container(
                node.name,
                node.kind,
                ("python", "-m", "wan.attach", "--config", str(run.node(node.name) / "agent.json")),
            )
            for node in plan.nodes.values()
        ),
    )


def text(plan: Plan, world_file: Path, directory: Path, context: Path) -> str:
    """docker-compose.yml, to lie in `directory`; `context` is where the Dockerfile is."""
    built = _relative(context, directory)
    lines = [_HEAD.format(world=plan.name, file=os.path.relpath(world_file, directory))]
    run = run_dir(plan.name)
    lines += _anchors(plan, run)
    lines.append("services:")
    sources = [world_file]
    if plan.world.internet.rtt_csv is not None:
        sources.append(world_file.parent / plan.world.internet.rtt_csv)
    # A plug-in is a file, unless its text stands in the world file.
    algorithm = world_file.parent / plan.world.routing.algorithm
    if algorithm.suffix == ".py" and algorithm.is_file():
        sources.append(algorithm)
    for one in containers(plan, run, f"/world/{world_file.name}"):
        match one.role:
            case "world":
                lines += _world(one, built, _mounts(sources, world_file.parent, directory))
            case "wan":
                lines += _wan(one)
            case "lab":
                lines += _lab(one, run)
            case _:
                lines += _node(one)
    lines += _watching(_relative(context / "deploy", directory))
    lines += ["volumes:", "  run: {}", ""]
    return "\n".join(lines)


_HEAD = """\
# The world `{world}` as containers. Made from {file} by `popnet compose`, which makes it again after a change.
#
#   docker compose up -d --wait                               then http://localhost:8080/
#   docker compose exec lab popnet status                     every popnet command, in this form
#   docker compose exec tokyo curl https://app.example.com/   any program, in any node
#   docker compose down -v
#
# Without a registry: .ci/base-image, then BASE_IMAGE=popnet-base docker compose up -d --build --wait
"""


def _anchors(plan: Plan, run: RunDir) -> list[str]:
    common = common_environment(run).items()
    node = node_environment(run).items()
    return [
        "x-popnet: &popnet",
        f"  image: {IMAGE}",
        f"  user: {USER}",
        f"  volumes: [run:{BASE}]",
        *_mapping("environment", common),
        "  depends_on: {world: {condition: service_completed_successfully}}",
        "",
        "# A node: no network but wan0, which its agent makes as root and then serves as nobody in particular.",
        "x-node: &node",
        "  <<: *popnet",
        "  network_mode: none",
        "  user: root",
        "  cap_add: [NET_ADMIN]",
        "  devices: [/dev/net/tun]",
        f"  dns: {DNS_ADDRESS}",
        "  dns_search: .",
        f"  dns_opt: [{', '.join(DNS_OPTIONS)}]",
        *_mapping("sysctls", SYSCTLS.items()),
        *_mapping("environment", node),
        f"  stop_grace_period: {STOP_S}s",
        "  extra_hosts:",
        *(f'    {name}: "{address}"' for name, address in hosts(plan).items()),
        "",
    ]


def _mapping(key: str, items: Iterable[tuple[str, str]]) -> list[str]:
    return [f"  {key}:", *(f'    {name}: "{value}"' for name, value in items)]


def _world(one: Container, context: str, mounts: list[str]) -> list[str]:
    return [
        "  # Writes certificates and configurations for all others, and ends.",
        f"  {one.name}:",
        "    <<: *popnet",
        "    network_mode: none",
        "    build:",
        f"      context: {context}",
        "      network: ${POPNET_BUILD_NETWORK:-default}",
        '      args: {BASE_IMAGE: "${BASE_IMAGE:-python:3.11-slim-bookworm}"}',
        f"    command: {_list(one.command)}",
        f"    volumes: [run:{BASE}, {', '.join(mounts)}]",
        "    depends_on: {}",
        f"    labels: {_labels(one)}",
        "",
    ]


def _wan(one: Container) -> list[str]:
    return [
        "  # Carries every packet, by the link model.",
        f"  {one.name}:",
        "    <<: *popnet",
        "    network_mode: none",
        f"    command: {_list(one.command)}",
        "    restart: unless-stopped",
        f"    labels: {_labels(one)}",
        "",
    ]


def _lab(one: Container, run: RunDir) -> list[str]:
    published = (
        (PUBLISHED_WEB, WEB_PORT),
        (PUBLISHED_SOCKS, SOCKS_PORT),
    )
    environment = [
        *common_environment(run).items(),
        *((name, f"${{{name}:-{port}}}") for name, port in published),
    ]
    ports = [f'"127.0.0.1:${{{name}:-{port}}}:{port}"' for name, port in published]
    return [
        "  # The control, the web page and the proxy: the only one that the machine can reach.",
        f"  {one.name}:",
        "    <<: *popnet",
        f"    ports: [{', '.join(ports)}]",
        *(f"  {line}" for line in _mapping("environment", environment)),
        f"    command: {_list(one.command)}",
        "    restart: unless-stopped",
        "    healthcheck:  # a check waits until there is news, or a minute",
        f"      test: {_list(('CMD', *health_command(run)))}",
        "      interval: 1s",
        "      timeout: 90s",
        "      retries: 1",
        "      start_period: 180s",
        f"    labels: {_labels(one)}",
        "",
    ]


def _node(one: Container) -> list[str]:
    return [
        f"  {one.name}:",
        "    <<: *node",
        f"    hostname: {one.name}",
        f"    command: {_list(one.command)}",
        f"    labels: {_labels(one)}",
        "",
    ]


def _watching(deploy: str) -> list[str]:
    """Others' programs, for those who want metrics over time: profiles `metrics` and `grafana` (both, with it)."""
    return [
        "  # docker compose --profile metrics up -d: http://localhost:9090/ and, with profile grafana, :3000",
        "  prometheus:",
        "    image: ${PROMETHEUS_IMAGE:-prom/prometheus}",
        "    profiles: [metrics, grafana]",
        f"    volumes: [{deploy}/prometheus/prometheus.yml:/etc/prometheus/prometheus.yml:ro]",
        '    ports: ["127.0.0.1:${POPNET_PROMETHEUS_PORT:-9090}:9090"]',
        "",
        "  grafana:",
        "    image: ${GRAFANA_IMAGE:-grafana/grafana}",
        "    profiles: [grafana]",
        '    environment: {GF_AUTH_ANONYMOUS_ENABLED: "true", GF_AUTH_ANONYMOUS_ORG_ROLE: Admin}',
        "    volumes:",
        f"      - {deploy}/grafana/provisioning:/etc/grafana/provisioning:ro",
        f"      - {deploy}/grafana/dashboards:/var/lib/grafana/dashboards:ro",
        '    ports: ["127.0.0.1:${POPNET_GRAFANA_PORT:-3000}:3000"]',
        "",
    ]


def _labels(one: Container) -> str:
    return f"{{{', '.join(f'{name}: {value}' for name, value in one.labels.items())}}}"


def _list(words: Iterable[str]) -> str:
    return f"[{', '.join(words)}]"


def _mounts(sources: Iterable[Path], root: Path, directory: Path) -> list[str]:
    return [
        f"{_relative(path, directory)}:/world/{os.path.relpath(path, root)}:ro" for path in sources
    ]


def _relative(path: Path, directory: Path) -> str:
    """As compose wants a path of this machine: beginning with a dot, or absolute where it is far away."""
    relative = os.path.relpath(path.resolve(), directory.resolve())
    if relative.startswith("../../.."):
        return str(path.resolve())
    return relative if relative.startswith(".") else f"./{relative}"
