"""Wrong world files: each problem is found at its place, under its key, with a way out."""

# The table of wrong files reads best with one file a line.
# ruff: noqa: E501

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from topology import addresses, document
from topology.load import WorldError, load_world, parse_world
from topology.problems import Problem

GOOD = """\
popnet: 1
pops: {LHR: {region: 1}, FRA: {region: 2}, NRT: {region: 1}}
internet: {rtt_ms: {LHR: {FRA: 14}}}
visitors: [tokyo, london]
sites: {dublin: {service: hello}}
tunnels: {app: {site: dublin}}
dns: {app.example.com: {tunnel: app}}
"""


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(WorldError) as caught:
        parse_world(text, file="w.yaml")
    return caught.value.problems


def only(text: str) -> Problem:
    found = problems(text)
    assert len(found) == 1, "\n".join(map(str, found))
    return found[0]


def test_the_good_world_that_the_wrong_ones_differ_from_loads() -> None:
    assert list(parse_world(GOOD).pops) == ["LHR", "FRA", "NRT"]


# What is replaced in GOOD (or added, when there is nothing to replace), by what; then where, which key,
# and words that must stand in what was found, what is allowed and the hint.
WRONG = {
    "unknown key": ("visitors:", "vistors:", 4, 1, "vistors", "unknown key", "visitors", "'visitors'?"),
    "unknown key inside": ("{region: 1}, F", "{reigon: 1}, F", 2, 14, "pops.LHR.reigon", "", "region", "'region'?"),
    "no format": ("popnet: 1\n", "", 1, 1, "popnet", "no such key", "1", ""),
    "other format": ("popnet: 1", "popnet: 2", 1, 9, "popnet", "2", "1", ""),
    "wrong type": ("[tokyo, london]", "tokyo", 4, 11, "visitors", "'tokyo'", "a list", ""),
    "text for a number": ("FRA: 14", "FRA: far", 3, 32, "internet.rtt_ms.LHR.FRA", "'far'", "a number", ""),
    "negative delay": ("FRA: 14", "FRA: -1", 3, 32, "internet.rtt_ms.LHR.FRA", "-1", "at least 0", ""),
    "infinite delay": ("FRA: 14", "FRA: .inf", 3, 32, "internet.rtt_ms.LHR.FRA", ".inf", "finite", ""),
    "unknown PoP in rtt_ms": ("{FRA: 14}", "{FRO: 14}", 3, 27, "internet.rtt_ms.LHR.FRO", "no node", "LHR, FRA", "'FRA'?"),
    "unknown row in rtt_ms": ("rtt_ms: {LHR: {", "rtt_ms: {LHX: {", 3, 21, "internet.rtt_ms.LHX", "no node", "LHR, FRA", "'LHR'?"),
    "RTT to itself": ("{FRA: 14}", "{LHR: 14}", 3, 27, "internet.rtt_ms.LHR.LHR", "twice", "two different", ""),
    "RTT told twice": ("FRA: 14}", "FRA: 14}, FRA: {LHR: 15}", 3, 48, "internet.rtt_ms.FRA.LHR", "15, but 14 in line 3", "one_way_ms", ""),
    "unknown site": ("site: dublin", "site: dubln", 6, 23, "tunnels.app.site", "no site", "dublin", "'dublin'?"),
    "unknown replica": ("site: dublin", "site: [dublin, dubln]", 6, 32, "tunnels.app.site[1]", "no site", "dublin", "'dublin'?"),
    "replica twice": ("site: dublin", "site: [dublin, dublin]", 6, 32, "tunnels.app.site[1]", "'dublin' twice", "once", ""),
    "unknown tunnel": ("tunnel: app", "tunnel: ap", 7, 33, "dns.app.example.com.tunnel", "no tunnel", "app", "'app'?"),
    "no target": ("{tunnel: app}", "{}", 7, 7, "dns.app.example.com", "no target", "tunnel or load_balancer", ""),
    "two targets": ("{tunnel: app}", "{tunnel: app, load_balancer: b}}\nload_balancers: {b: {pool: [app]}", 7, 7, "dns.app.example.com", "tunnel and load_balancer", "one of", ""),
    "bad hostname": ("{app.example.com", "{app_.example.com", 7, 7, "dns.app_.example.com", "'app_.example.com'", "a hostname", ""),
    "our own zone": ("{app.example.com", "{x.v2.argotunnel.com", 7, 7, "dns.x.v2.argotunnel.com", "", "outside", ""),
    "one hostname twice": ("{tunnel: app}", "{tunnel: app}, App.Example.com: {tunnel: app}", 7, 39, "dns.App.Example.com", "second time", "line 7", ""),
    "no IATA code": ("LHR: {region: 1}, F", "LHRR: {region: 1}, LHR: , F", 2, 8, "pops.LHRR", "no IATA code", "at:", "'LHR'?"),
    "IATA code in small letters": ("NRT:", "nrt:", 2, 44, "pops.nrt", "no IATA code", "at:", "'NRT'?"),
    "city for an IATA code": ("NRT:", "oslo:", 2, 44, "pops.oslo", "no IATA code", "at:", "OSL"),
    "swapped letters in an IATA code": ("NRT:", "YSD:", 2, 44, "pops.YSD", "no IATA code", "at:", "'SYD'?"),
    "unknown city": ("tokyo", "tokio", 4, 12, "visitors.tokio", "no city", "a city", "'tokyo'?"),
    "several cities": ("tokyo", "springfield", 4, 12, "visitors.springfield", "several", "at:", ""),
    "city of several countries": ("tokyo", "valencia", 4, 12, "visitors.valencia", "several", "at:", "valencia-es"),
    "off the globe": ("{service: hello}", "{at: [91, 0]}", 5, 23, "sites.dublin.at[0]", "91", "from -90 to 90", ""),
    "half a position": ("{service: hello}", "{at: [53]}", 5, 22, "sites.dublin.at", "a list of 1", "a list of 2", ""),
    "one name, two kinds": ("{dublin: {", "{tokyo: {}, dublin: {", 5, 9, "sites.tokyo", "a visitor (line 4)", "differ", ""),
    "names that differ in capitals": ("[tokyo, london]", "{nrt: {city: tokyo}}", 4, 12, "visitors.nrt", "a PoP (line 2)", "capitals", ""),
    "one visitor twice": ("[tokyo, london]", "[tokyo, tokyo]", 4, 19, "visitors[1]", "second time", "line 4", ""),
    "reserved name": ("{dublin: {", "{wan: {at: [1, 2]}, dublin: {", 5, 9, "sites.wan", "reserved", "other", ""),
    "bad name": ("{dublin: {", "{du_blin: {at: [1, 2]}, dublin: {", 5, 9, "sites.du_blin", "'du_blin'", "letters, digits", ""),
    "one region only": ("region: 2", "region: 1", 2, 1, "pops", "region 1", "both regions", ""),
    "one PoP only": ("pops: {LHR: {region: 1}, FRA: {region: 2}, NRT: {region: 1}}\ninternet: {rtt_ms: {LHR: {FRA: 14}}}", "pops: [LHR]", 2, 1, "pops", "one PoP", "two", ""),
    "third region": ("region: 2", "region: 3", 2, 40, "pops.FRA.region", "3", "1 or 2", ""),
    "unknown neighbor": ("{region: 2}", "{neighbors: [NRT, LHT]}", 2, 49, "pops.FRA.neighbors[1]", "no PoP", "LHR", "'LHR'?"),
    "unknown service": ("service: hello", "service: helo", 5, 27, "sites.dublin.service.url", "'helo'", "http://", "'hello'?"),
    "no service": ("service: hello", "service: {}", 5, 27, "sites.dublin.service", "no service", "hello, a URL", ""),
    "two services": ("service: hello", "service: {hello: true, url: 'http://a'}", 5, 27, "sites.dublin.service", "hello and another", "one service", ""),
    "unknown connector": ("service: hello", "connectors: [{run: cloudflard}]", 5, 37, "sites.dublin.connectors[0].run", "", "tunnel_client", "'cloudflared'?"),
    "no connections": ("service: hello", "connectors: [{connections: 0}]", 5, 45, "sites.dublin.connectors[0].connections", "0", "from 1 to 32", ""),
    "unknown tunnel of a connector": ("service: hello", "connectors: [{tunnel: ap}]", 5, 40, "sites.dublin.connectors[0].tunnel", "no tunnel", "app", "'app'?"),
    "a fraction of a connection": ("service: hello", "connectors: [{connections: 1.5}]", 5, 45, "sites.dublin.connectors[0].connections", "1.5", "whole number", ""),
    "pin of nobody": ("", "anycast: {pin: {tokio: LHR}}", 8, 17, "anycast.pin.tokio", "no visitor", "tokyo", "'tokyo'?"),
    "pin to nowhere": ("", "anycast: {pin: {tokyo: LHX}}", 8, 24, "anycast.pin.tokyo", "no PoP", "LHR", "'LHR'?"),
    "bad duration": ("", "anycast: {convergence: 3 sec}", 8, 24, "anycast.convergence", "'3 sec'", "250ms", ""),
    "negative duration": ("", "anycast: {convergence: -3}", 8, 24, "anycast.convergence", "-3", "250ms", ""),
    "unknown policy": ("", "anycast: {policy: lowest-rtt}", 8, 19, "anycast.policy", "", "lowest_rtt", "'lowest_rtt'?"),
    "loss above 100": ("internet: {", "internet: {defaults: {loss_pct: 101}, ", 3, 33, "internet.defaults.loss_pct", "101", "from 0 to 100", ""),
    "unknown distribution": ("internet: {", "internet: {defaults: {jitter_distribution: uniforn}, ", 3, 44, "internet.defaults.jitter_distribution", "", "pareto", "'uniform'?"),
    "no rate": ("internet: {", "internet: {defaults: {rate_mbit: 0}, ", 3, 34, "internet.defaults.rate_mbit", "0", "unlimited", ""),
    "tiny MTU": ("internet: {", "internet: {defaults: {mtu: 100}, ", 3, 28, "internet.defaults.mtu", "100", "576", ""),
    "endless burst": ("internet: {", "internet: {defaults: {burst: {enter_pct: 1, leave_pct: 0}}, ", 3, 56, "internet.defaults.burst.leave_pct", "0", "more than 0", ""),
    "half a burst": ("internet: {", "internet: {defaults: {burst: {enter_pct: 1}}, ", 3, 30, "internet.defaults.burst.leave_pct", "no such key", "required", ""),
    "link of nobody": ("internet: {", "internet: {links: [{from: LHR, to: NTR}], ", 3, 36, "internet.links[0].to", "no node", "NRT", "'NRT'?"),
    "link to itself": ("internet: {", "internet: {links: [{from: LHR, to: LHR}], ", 3, 36, "internet.links[0].to", "twice", "two different", ""),
    "link without an end": ("internet: {", "internet: {links: [{from: LHR}], ", 3, 20, "internet.links[0].to", "no such key", "a name", ""),
    "delay told twice": ("internet: {", "internet: {links: [{from: LHR, to: FRA, rtt_ms: 9, one_way_ms: 5}], ", 3, 41, "internet.links[0].rtt_ms", "one_way_ms and rtt_ms", "one of", ""),
    "RTT of one direction": ("internet: {", "internet: {links: [{from: LHR, to: FRA, rtt_ms: 9, both: false}], ", 3, 58, "internet.links[0].both", "false", "both directions", ""),
    "access of nobody": ("internet: {", "internet: {access: {tokio: {rate_mbit: 5}}, ", 3, 21, "internet.access.tokio", "no node", "tokyo", "'tokyo'?"),
    "odd congestion control": ("internet: {", "internet: {congestion: Cubic}  # {", 3, 24, "internet.congestion", "'Cubic'", "cubic", ""),
    "matrix that is not there": ("internet: {", "internet: {rtt_csv: no.csv, ", 3, 21, "internet.rtt_csv", "No such file", "CSV", ""),
    "two estimators": ("", "routing: {probe: {estimator: {ewma: 1, min: 2}}}", 8, 30, "routing.probe.estimator", "2 in it", "one key", ""),
    "never probing": ("", "routing: {probe: {every: 0s}}", 8, 26, "routing.probe.every", "'0s'", "above 0", ""),
    "pool of nothing": ("", "load_balancers: {www: {pool: []}}", 8, 30, "load_balancers.www.pool", "nothing in it", "at least one", ""),
    "unknown fallback": ("", "load_balancers: {www: {pool: [app], fallback: apq}}", 8, 47, "load_balancers.www.fallback", "no tunnel", "app", "'app'?"),
    "never checking": ("", "load_balancers: {www: {pool: [app], health: {every: 0s}}}", 8, 53, "load_balancers.www.health.every", "'0s'", "above 0 such as 250ms", ""),
    "odd cookie": ("", "load_balancers: {www: {pool: [app], affinity: {cookie: a b}}}", 8, 56, "load_balancers.www.affinity.cookie", "'a b'", "letters, digits, - and _", ""),
    "two healths": ("", "load_balancers: {a: {pool: [app]}, b: {pool: [app], health: {fall: 3}}}", 8, 61, "load_balancers.b.health", "other checks of 'app' than load_balancers.a.health (line 8)", "the same health in every pool", ""),
    "two healths, one of them unsaid": ("", "load_balancers: {a: {pool: [app], health: {every: 1s}}, b: {pool: [app]}}", 8, 60, "load_balancers.b.health", "load_balancers.a.health (line 8)", "the same", ""),
    "unknown site of a pool member": ("", "load_balancers: {www: {pool: [app@dubln]}}", 8, 31, "load_balancers.www.pool.app@dubln", "'dubln', which is no site of app", "dublin", "'dublin'?"),
    "unknown tunnel of a pool member": ("", "load_balancers: {www: {pool: [apq@dublin]}}", 8, 31, "load_balancers.www.pool.apq@dublin", "no tunnel", "app", "'app'?"),
    "a site beside its tunnel": ("", "load_balancers: {www: {pool: [app, app@dublin]}}", 8, 36, "load_balancers.www.pool.app@dublin", "beside 'app'", "as a whole, or some of its sites", ""),
    "two healths of a tunnel and its site": ("", "load_balancers: {a: {pool: [app@dublin]}, b: {pool: [app], health: {fall: 3}}}", 8, 68, "load_balancers.b.health", "of 'app' than load_balancers.a.health", "the same", ""),
    "unknown pool member": ("", "load_balancers: {www: {pool: [apq]}}", 8, 31, "load_balancers.www.pool.apq", "no tunnel", "app", "'app'?"),
    "rule without an action": ("", "security: [{path: /a}]", 8, 12, "security[0]", "no action", "allow, block", ""),
    "rule without anything": ("", "security: [null]", 8, 12, "security[0]", "no action", "allow, block", ""),
    "rule with two actions": ("", "security: [{block: true, allow: all}]", 8, 12, "security[0]", "allow and block", "one of", ""),
    "rule that is not one": ("", "security: [{challenge: false}]", 8, 24, "security[0].challenge", "false", "true", ""),
    "rule for no address": ("", "security: [{address: '300.1', allow: all}]", 8, 22, "security[0].address[0]", "300.1", "prefix", ""),
    "rule for an unknown token": ("", "security: [{require: service_token, of: lub}]", 8, 41, "security[0].of[0]", "lub", "lab", "lab"),
    "rule for tokens of nobody": ("", "security: [{require: jwt}]", 8, 22, "security[0].require", "jwt", "access.jwt", ""),
    "rule for a country by its name": ("", "security: [{country: [JP, Japan], block: true}]", 8, 27, "security[0].country[1]", "'Japan'", "two letters", ""),
    "rule for no header field": ("", "security: [{header: {}, block: true}]", 8, 21, "security[0].header", "nothing in it", "at least one", ""),
    "rule for a host that is no name": ("", "security: [{host: bad host, block: true}]", 8, 19, "security[0].host", "'bad host'", "app.example.com", ""),
    "rule for a method that is none": ("", "security: [{method: [G ET], block: true}]", 8, 22, "security[0].method[0]", "'G ET'", "GET or POST", ""),
    "rule for a field that is none": ("", "security: [{header: {bad header: x}, block: true}]", 8, 22, "security[0].header.bad header", "'bad header'", "header field", ""),
    "rule for a query": ("", "security: [{path: /a?b=1, block: true}]", 8, 19, "security[0].path", "'/a?b=1'", "without ? and #", ""),
    "rule for an escape": ("", "security: [{path: /a%20b, block: true}]", 8, 19, "security[0].path", "'/a%20b'", "letters themselves", ""),
    "rule for what is resolved": ("", "security: [{path: /a/../b, block: true}]", 8, 19, "security[0].path", "'/a/../b'", "resolved", ""),
    "rule for a path with blanks around": ("", "security: [{path: '/a ', block: true}]", 8, 19, "security[0].path", "'/a '", "without blanks", ""),
    "rule for nobody": ("", "security: [{visitor: [], block: true}]", 8, 22, "security[0].visitor", "nothing in it", "at least one", ""),
    "rate by what is no key": ("", "security: [{rate_limit: {per_s: 1, by: foo}}]", 8, 40, "security[0].rate_limit.by", "'foo'", "address, country, host, all or header:name", ""),
    "names without a credential": ("", "security: [{allow: all, of: lab}]", 8, 29, "security[0].of", "no require", "only beside", ""),
    "keys that are none": ("", "access: {jwt: {a: {jwks: '{}'}}}", 8, 26, "access.jwt.a.jwks", "no list", "JWKS", ""),
    "keys that are not there": ("", "access: {jwt: {a: {jwks: none.json}}}", 8, 26, "access.jwt.a.jwks", "No such file", "readable", ""),
    "rule with an odd status": ("", "security: [{block: 200}]", 8, 20, "security[0].block", "200", "400 to 599", ""),
    "load on an unknown host": ("", "load: {rate_per_s: 1, url: https://ap.example.com/}", 8, 28, "load.url", "'ap.example.com'", "app.example.com", "'app.example.com'?"),
    "assertion that cannot hold": ("", "assert: [availability >= 101%]", 8, 10, "assert[0]", "101%", "0% to 100%", ""),
    "assertion without a comparison": ("", "assert: [all is well]", 8, 10, "assert[0]", "'all is well'", "availability", ""),
    "assertion of no metric": ("", "assert: [recoverd within 3s]", 8, 10, "assert[0]", "'recoverd'", "recovered", "'recovered'?"),
    "assertion of an unknown visitor": ("", "assert: [failed(london) < 1, 'failed(tokio) <= 5']", 8, 30, "assert[1]", "'tokio', which is no visitor", "tokyo, london or app.example.com", "'tokyo'?"),
    "assertion of an unknown host": ("", "assert: p95(app.example.org) < 1s", 8, 9, "assert[0]", "'app.example.org'", "app.example.com", "'app.example.com'?"),
    "a host is not cut off": ("", "assert: cut_off(app.example.com) < 1s", 8, 9, "assert[0]", "no visitor", "tokyo or london", None),
    "assertion of a path of no PoPs": ("", "assert: share(LHR>FRO) > 5%", 8, 9, "assert[0]", "'FRO', which is no PoP", "LHR, FRA or NRT", "'FRA'?"),
    "assertion of all that names one": ("", "assert: recovered(tokyo) within 4s", 8, 9, "assert[0]", "recovered(tokyo)", "without a bracket", ""),
    "two comparisons": ("", "assert: p95 < 3s and failed < 1", 8, 9, "assert[0]", "p95 < 3s and", "one comparison a line", ""),
    "assertion without a unit": ("", "assert: [p95 < 1s, p95 < 3]", 8, 20, "assert[1]", "3 without a unit", "us, ms, s, m or h", ""),
    "rate that never ends": ("", "load: {rate_per_s: 1.0e+300, url: 'http://app.example.com/'}", 8, 20, "load.rate_per_s", "1e+300", "to 100000", ""),
    "rate of next to nothing": ("", "load: {rate_per_s: 1.0e-320, url: 'http://app.example.com/'}", 8, 20, "load.rate_per_s", "1e-320", "a number", ""),
    "method in small letters": ("", "load: {rate_per_s: 1, url: 'http://app.example.com/', methods: {get: 1}}", 8, 65, "load.methods.get", "'get'", "an HTTP method in capitals", ""),
    "malformed URL is the only one": ("", "load: {rate_per_s: 1, url: app.example.com}", 8, 28, "load.url", "'app.example.com'", "http://", ""),
    "malformed sizes": ("", "load: {rate_per_s: 1, url: 'http://app.example.com/{size}', sizes: [-1]}", 8, 69, "load.sizes[0]", "-1", "at least 0", ""),
    "blank in a URL": ("", "load: {rate_per_s: 1, url: 'https://app.example.com/x y'}", 8, 28, "load.url", "x y", "without blanks", ""),
    "URL beyond ASCII": ("", "load: {rate_per_s: 1, mix: {'https://app.example.com/ü': 1}}", 8, 29, "load.mix.https://app.example.com/ü", "ü", "in ASCII", ""),
    "unknown place in a URL": ("", "load: {rate_per_s: 1, url: 'https://app.example.com/{sise}'}", 8, 28, "load.url", "{sise}", "{size} and {id}", ""),
    "timeline without a time": ("", "timeline: [{kill: LHR}]", 8, 12, "timeline[0].at", "no such key", "250ms", ""),
    "timeline without an action": ("", "timeline: [{at: 1s}]", 8, 12, "timeline[0]", "no action", "flap", ""),
    "timeline with two actions": ("", "timeline: [{at: 1s, kill: LHR, pause: FRA}]", 8, 12, "timeline[0]", "kill and pause", "one of", ""),
    "timeline at an odd time": ("", "timeline: [{at: soon, kill: LHR}]", 8, 17, "timeline[0].at", "'soon'", "250ms", ""),
    "timeline for no time": ("", "timeline: [{at: 1s, for: 0s, kill: LHR}]", 8, 26, "timeline[0].for", "0", "more than 0", ""),
    "killing nobody": ("", "timeline: [{at: 1s, kill: LHX}]", 8, 27, "timeline[0].kill[0]", "no PoP or site", "LHR", "'LHR'?"),
    "killing a visitor": ("", "timeline: [{at: 1s, kill: [LHR, tokyo]}]", 8, 33, "timeline[0].kill[1]", "no PoP or site", "LHR", ""),
    "cut of nobody": ("", "timeline: [{at: 1s, cut: [LHR, FRX]}]", 8, 32, "timeline[0].cut.to", "no node", "FRA", "'FRA'?"),
    "cut of three": ("", "timeline: [{at: 1s, cut: [LHR, FRA, NRT]}]", 8, 26, "timeline[0].cut", "a list", "[A, B]", ""),
    "setting nothing": ("", "timeline: [{at: 1s, set: {from: LHR, to: FRA}}]", 8, 26, "timeline[0].set", "nothing to set", "rtt_ms", ""),
    "ramp without an end": ("", "timeline: [{at: 1s, ramp: {from: LHR, to: FRA, rtt_ms: [1, 2]}}]", 8, 12, "timeline[0]", "without `for`", "for:", ""),
    "ramp of nothing": ("", "timeline: [{at: 1s, for: 2s, ramp: {from: LHR, to: FRA}}]", 8, 36, "timeline[0].ramp", "nothing to ramp", "rtt_ms", ""),
    "ramp to no rate": ("", "timeline: [{at: 1, for: 2s, ramp: {from: LHR, to: FRA, rate_mbit: [9, 0]}}]", 8, 71, "timeline[0].ramp.rate_mbit[1]", "0", "from 1e-06", ""),
    "flap without a period": ("", "timeline: [{at: 1s, flap: {from: LHR, to: FRA}}]", 8, 27, "timeline[0].flap.period", "no such key", "250ms", ""),
    "partition with one on both sides": ("", "timeline: [{at: 1s, partition: [[LHR], [FRA, LHR]]}]", 8, 46, "timeline[0].partition[1][1]", "second time", "one group", ""),
    "partition of all from nobody": ("", "timeline: [{at: 1s, partition: [LHR, FRA, NRT]}]", 8, 32, "timeline[0].partition", "every PoP", "outside", ""),
    "duplicate key": ("", "tunnels: {}", 8, 1, "tunnels", "second time", "line 6", ""),
    "tag": ("", "name: !!binary aGk=", 8, 7, "name", "tagged", "without a tag", ""),
    "empty value": ("", "name:", 8, 6, "name", "nothing", "a name", ""),
    "only replicas that are none": ("site: dublin", "site: [3]", 6, 24, "tunnels.app.site[0]", "3", "a name", ""),
    "only members that are none": ("", "load_balancers: {b: {pool: [3]}}", 8, 29, "load_balancers.b.pool[0]", "3", "a name", ""),
    "only a member with no name": ("", "load_balancers: {b: {pool: {a b: {}}}}", 8, 29, "load_balancers.b.pool.a b", "'a b'", "TUNNEL@SITE", ""),
    "parameter that is none": ("", "routing: {probe: {estimator: {ewma: x}}}", 8, 37, "routing.probe.estimator.ewma", "'x'", "a number", ""),
    "long note": ("", f"security: [{{allow: all, note: {'x' * 61}}}]", 8, 31, "security[0].note", "xxx...", "at most 60", ""),
    "endless duration": ("", f"timeline: [{{at: {'9' * 400}s, kill: LHR}}]", 8, 17, "timeline[0].at", "999", "finite", ""),
    "rate of nearly nothing": ("internet: {", "internet: {defaults: {rate_mbit: 1e-30}, ", 3, 34, "internet.defaults.rate_mbit", "1e-30", "from 1e-06", ""),
    "rate that no number holds": ("internet: {", "internet: {defaults: {rate_mbit: 1e308}, ", 3, 34, "internet.defaults.rate_mbit", "1e+308", "to 1000000000", ""),
    "bracket in a URL": ("", "load: {rate_per_s: 1, url: 'http://[app'}", 8, 28, "load.url", "'http://[app'", "https://app.example.com/", ""),
    "bracket in a mix": ("", "load: {rate_per_s: 1, mix: {'http://[app': 1}}", 8, 29, "load.mix.http://[app", "'http://[app'", "https://app.example.com/", ""),
    "bracket in an origin": ("service: hello", "service: 'http://[::'", 5, 27, "sites.dublin.service.url", "'http://[::'", "https://...", None),
    "port of an origin": ("service: hello", "service: 'http://localhost:70000'", 5, 27, "sites.dublin.service.url", "70000", "https://...", None),
    "key set nested too deep": ("", "access: {jwt: {a: {jwks: '" + '{"keys": ' + "[" * 5000 + "'}}}", 8, 26, "access.jwt.a.jwks", "no JSON", "a JWKS", ""),
    "file that never ends": ("internet: {", "internet: {rtt_csv: /dev/zero, ", 3, 21, "internet.rtt_csv", "no regular file", "a readable CSV file", ""),
    "empty position": ("dublin: {", "dubln: {at: }, dublin: {", 5, 9, "sites.dubln", "no city", "at:", "'dublin'?"),
    "empty action": ("", "timeline: [{at: 1s, kill: }]", 8, 12, "timeline[0]", "no action", "one of", ""),
    "ramp with an empty end": ("", "timeline: [{at: 1s, for: , ramp: {from: LHR, to: FRA, rtt_ms: [1, 2]}}]", 8, 12, "timeline[0]", "without `for`", "for:", ""),
    "half a character": ("service: hello", r'service: {command: "\ud800"}', 5, 37, "sites.dublin.service.command", r"'\ud800'", "whole", ""),
    "half a character in a key": ("", r'security: [{header: {"\ud800": a}, allow: all}]', 8, 22, "security[0].header", r"'\ud800'", "whole", ""),
    "merging no mapping": ("", "anycast: {<<: 3}", 8, 15, "anycast.<<", "cannot be merged", "other mappings", ""),
    "unknown limit": ("", "limits: {conections_per_visitor: 2}", 8, 10, "limits.conections_per_visitor", "unknown key", "streams_per_visitor", "'connections_per_visitor'?"),
    "unknown timeout": ("", "timeouts: {respons_head: 2s}", 8, 12, "timeouts.respons_head", "unknown key", "keep_alive", "'response_head'?"),
    "a limit among timeouts": ("", "timeouts: {penalty: 2s}", 8, 12, "timeouts.penalty", "unknown key", "tunnel_ping", ""),
    "streams whose windows are too much": ("", "limits: {streams_per_visitor: 1025}", 8, 31, "limits.streams_per_visitor", "1025", "from 1 to 1024", ""),
    "nobody may come in": ("", "limits: {connections_per_visitor: 0}", 8, 35, "limits.connections_per_visitor", "0", "from 1 to 1000000", ""),
    "a limit of words": ("", "limits: {visitor_connections: many}", 8, 31, "limits.visitor_connections", "'many'", "a whole number", ""),
    "half a connection": ("", "limits: {visitor_connections: 1.5}", 8, 31, "limits.visitor_connections", "1.5", "a whole number", ""),
    "a penalty for ever": ("", "limits: {penalty: 25h}", 8, 19, "limits.penalty", "'25h'", "up to 24h", ""),
    "a penalty that is none": ("", "limits: {penalty: '-1s'}", 8, 19, "limits.penalty", "'-1s'", "such as 250ms", ""),
    "more than all bodies": ("", f"limits: {{body_bytes: {2**60}}}", 8, 22, "limits.body_bytes", "1152921504606846976", "from 0 to", ""),
    "retries without end": ("", "limits: {retry_share: 1.5}", 8, 23, "limits.retry_share", "1.5", "from 0 to 1", ""),
    "a timeout of nothing": ("", "timeouts: {idle: 0s}", 8, 18, "timeouts.idle", "0", "a duration from 1ms to 24h such as", ""),
    "no duration of a timeout": ("", "timeouts: {idle: 5 days}", 8, 18, "timeouts.idle", "'5 days'", "from 1ms to 24h such as", ""),
    "no patience between dials": ("", "timeouts: {reconnect_first: 6s}", 8, 29, "timeouts.reconnect_first", "first after 6 s, at most after 5 s", "no longer than reconnect_most", ""),
    "least patience between dials": ("", "timeouts: {reconnect_most: 50ms}", 8, 28, "timeouts.reconnect_most", "first after 0.1 s", "no longer than", ""),
    "merging itself": ("", "anycast: &a {<<: [*a]}", 8, 10, "anycast.<<", "cannot be merged", "other mappings", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_world(case: str) -> None:
    old, new, line, column, key, found, allowed, hint = WRONG[case]
    assert not old or GOOD.count(old) >= 1, "the case replaces nothing"
    problem = only(GOOD.replace(old, new, 1) if old else GOOD + new)
    assert (problem.line, problem.column, problem.key) == (line, column, key), str(problem)
    assert found in problem.found
    assert allowed in problem.allowed
    assert hint is None or (hint in problem.hint if hint else problem.hint == ""), str(problem)
    assert str(problem).startswith(f"w.yaml:{line}:{column}: {key}: ")
    assert "\n" not in str(problem)


@pytest.mark.parametrize(
    ("text", "line", "column", "found"),
    [
        ("a: *nobody\n", 1, 4, "undefined alias"),
        ("popnet: 1\n--- \npopnet: 1\n", 2, 1, "another document"),
        ("%YAML 1.9\n---\na: b\n", 1, 1, "minor"),
        ('a: "\\UFFFFFFFF"\n', 1, 1, "too large"),
    ],
)
def test_what_is_not_yaml(text: str, line: int, column: int, found: str) -> None:
    problem = only(text)
    assert (problem.line, problem.allowed) == (line, "YAML 1.2")
    assert found in problem.found


@pytest.mark.parametrize("text", ["", "# nothing\n", "[]\n", "hello\n", "3\n"])
def test_what_is_no_world_at_all(text: str) -> None:
    assert "popnet: 1" in problems(text)[0].allowed


INDENTED = "indented otherwise than line "


@pytest.mark.parametrize(
    ("text", "line", "column", "found", "allowed"),
    [
        ("pops:\n  LHR: {}\n   FRA: {}\n", 3, 4, INDENTED + "2", "as many spaces"),
        ("pops:\n    LHR: {}\n# no\n  FRA: {}\n", 4, 3, INDENTED + "2", "as many spaces"),
        ("  popnet: 1\npops: []\n", 2, 1, INDENTED + "1", "as many spaces"),
        ("popnet: 1\n  pops: []\n", 2, 3, INDENTED + "1", "as many spaces"),
        ("visitors:\n    - tokyo\n  - oslo\n", 3, 3, INDENTED + "2", "as many spaces"),
        ("a:\n  - at: 1s\n    kill: LHR\n   - at: 2s\n", 4, 4, INDENTED + "2", "as many spaces"),
        ("a:\n  - at: 1s\n   kill: LHR\n", 3, 4, INDENTED + "2", "as many spaces"),
        ("sites:\n  dublin: {}\n  - oslo\n", 3, 3, "a member of a list among keys", "keys only"),
        ("pops:\n\tLHR: {}\n", 2, 1, "a tab", "spaces"),
        ("popnet: 1\npops\n  LHR: {}\n", 2, 1, "'pops' without a colon", "KEY: VALUE"),
        ("pops:[LHR]\nvisitors: []\n", 1, 1, "'pops:[LHR]' without a colon", "KEY: VALUE"),
        ("pops: [LHR\nvisitors: []\n", 2, 9, "no ']' for the '[' in line 1", "']'"),
        ("pops: {LHR: {}\nvisitors: []\n", 2, 1, "no '}' for the '{' in line 1", "'}'"),
        ("pops: {LHR: {}}}\n", 1, 16, "'}' that closes nothing", "one for each"),
        ('name: "popnet\n', 2, 1, "quoted text that begins in line 1", "closing quote"),
        ("name: @x\n", 1, 7, "'@'", "in quotes"),
        ("name: a: b\n", 1, 8, "a second colon", "in quotes"),
    ],
)
def test_slips_of_yaml(text: str, line: int, column: int, found: str, allowed: str) -> None:
    problem = only(text)
    assert (problem.line, problem.column) == (line, column), str(problem)
    assert found in problem.found
    assert allowed in problem.allowed


def test_a_control_character_is_a_problem() -> None:
    assert problems("name: a\x00b\n")[0].allowed == "YAML 1.2"


def test_an_alias_of_itself_ends() -> None:
    assert "alias of itself" in problems(GOOD + "routing: {params: &a {b: *a}}\n")[0].found


def test_all_problems_come_at_once_and_in_file_order() -> None:
    text = (
        GOOD.replace("FRA: 14", "FRA: -1").replace("site: dublin", "site: d").replace("hello", "x")
    )
    assert [problem.line for problem in problems(text)] == [3, 5, 6]


def test_what_is_merged_counts_as_if_it_stood_there() -> None:
    world = parse_world(
        GOOD.replace("popnet: 1\n", "popnet: 1\n<<: {name: a, seed: 7}\nseed: 8\n")
        + "timeline: [&kill {at: 1s, kill: LHR}, {<<: *kill, at: 2s}, {<<: [{at: 3s}, *kill]}]\n"
    )
    assert (world.name, world.seed) == ("a", 8)
    assert [(entry.at, entry.kill) for entry in world.timeline] == [
        (1.0, ("LHR",)),
        (2.0, ("LHR",)),
        (3.0, ("LHR",)),
    ]


def test_merges_that_multiply_end() -> None:
    both = "a: &a {x: 1}\nA: &A {x: 1}\n" + "".join(
        f"{name}: &{name} {{<<: [*{before.lower()}, *{before.upper()}]}}\n"
        for before, small in pairwise("abcdefghijklmnopqrstuvwxyz")
        for name in (small, small.upper())
    )
    assert document.parse(both, "w.yaml").data["z"] == {"x": 1}


def test_what_refers_to_a_wrong_entry_is_not_called_wrong() -> None:
    problem = only(GOOD.replace("site: dublin}", "site: dublin, sort: 1}"))
    assert problem.key == "tunnels.app.sort"
    assert only(GOOD.replace("{site: dublin}", "{site: 7}")).key == "tunnels.app.site"


def test_every_assertion_is_looked_at() -> None:
    found = problems(GOOD + "assert: [1, p95 < 3, 'p0(paris) < 1%', availability => 99.9%]\n")
    assert [problem.key for problem in found] == [
        "assert[0]",
        "assert[1]",
        "assert[2]",
        "assert[2]",
        "assert[3]",
    ]


def test_positions_in_lists_hold_when_a_member_before_is_wrong() -> None:
    found = problems(GOOD + "timeline: [{at: x, kill: LHR}, {at: 1, kill: LHX}]\n")
    assert [problem.key for problem in found] == ["timeline[0].at", "timeline[1].kill[0]"]


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WorldError) as caught:
        load_world(tmp_path / "no.yaml")
    (problem,) = caught.value.problems
    assert problem.file.endswith("no.yaml")
    assert problem.found == "No such file or directory"
    assert str(problem) == f"{tmp_path / 'no.yaml'}: No such file or directory"


def test_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_bytes(b"popnet: \xff\n")
    with pytest.raises(WorldError, match="UTF-8"):
        load_world(tmp_path / "w.yaml")


def test_more_nodes_than_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "CAPACITY", 2)
    problem = only(GOOD)
    assert (problem.key, problem.line, problem.found) == ("pops", 2, "3 of them")


def test_aliases_that_multiply_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MAX_VALUES", 5000)
    text = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
        for before, name in pairwise("abcdefgh")
    )
    assert "more than 5000 values" in problems(text)[-1].found


def test_an_empty_name_is_told_as_such() -> None:
    no_name, no_tunnel = problems(GOOD.replace("app: {site", "'': {site"))
    assert (no_name.key, no_name.found) == ("tunnels.", "''")
    assert no_tunnel.allowed == "''"


def test_nobody_reads_more_than_some_problems() -> None:
    world = f"visitors: [{', '.join(f'nowhere{number}' for number in range(1_000))}]"
    found = problems(GOOD.replace("visitors: [tokyo, london]", world))
    assert len(found) == document.MOST_PROBLEMS


def test_a_number_that_json_cannot_carry() -> None:
    assert only(GOOD + f"seed: {2**63}\n").allowed == "a whole number of at most 64 bits"
    assert parse_world(GOOD + f"seed: {2**63 - 1}\n").seed == 2**63 - 1


def test_a_missing_section_is_told_once() -> None:
    """Not again by all that refers to it."""
    no_pops = "".join(line for line in GOOD.splitlines(True) if not line.startswith("pops"))
    assert [problem.key for problem in problems(no_pops)] == ["pops"]
    no_tunnels = "".join(line for line in GOOD.splitlines(True) if not line.startswith("tunnels"))
    problem = only(no_tunnels + "load_balancers: {www: {pool: [app]}}\n")
    assert (problem.key, problem.allowed) == (
        "dns.app.example.com.tunnel",
        "none: there is no section `tunnels`",
    )


def test_a_world_without_pops_is_told_once() -> None:
    assert [problem.key for problem in problems("popnet: 1\n")] == ["pops"]


@pytest.mark.parametrize(
    "rule",
    [
        "country: jp",
        "host: '*.example.com'",
        "host: app*",
        "method: [GET, PROPFIND, M-SEARCH]",
        "header: {x-scanner: '* *', User-Agent: curl*}",
        "path: /a b/*.php",
        "path: '*/.git/*'",
        "path: /..hidden",
        "path: /100%",
    ],
)
def test_rules_that_can_match_are_left_alone(rule: str) -> None:
    assert parse_world(f"{GOOD}security: [{{{rule}, block: true}}]").security[0].block is True
