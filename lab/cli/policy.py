"""`popnet policy show|set|test|token|certificate`: who may ask for what, while the lab runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
import typer

from lab import policy
from lab.cli.app import Code, Format, FormatOption, NameOption, app, put, put_json, put_table, say
from lab.driver import Lab, LabError, known

policy_app = typer.Typer(
    help="""The security policy of the edge: rules that every request meets at its ingress PoP; the first match wins.

    In the world file: security: [{path: /admin/*, require: service_token}, {allow: all}].
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(policy_app, name="policy")


def _ask(lab: Lab, pop: str, method: str, target: str, body: bytes | None = None) -> Any:
    answer = lab.admin(pop, method, target, body)
    if answer.status >= 300:
        raise LabError(f"{pop}: {answer.body[:300].decode(errors='replace').strip()}")
    return answer.json()


def _running(lab: Lab) -> list[str]:
    """PoPs that can be asked now; the others read the policy's file when they start."""
    ready = {one["name"] for one in lab.status()["nodes"] if one["ready"]}
    return [pop for pop in lab.plan.pops if pop in ready]


@policy_app.command()
def show(output: FormatOption = Format.table, name: NameOption = None) -> None:
    """The rules in force, in their order, and how often each has decided, all PoPs together."""
    lab = Lab.open(name)
    told = {pop: _ask(lab, pop, "GET", "/policy") for pop in _running(lab)}
    for pop, state in told.items():
        if state["error"]:
            say(f"popnet: {pop} lets nothing pass: {state['error']}")
    versions = sorted({state["version"] for state in told.values() if state["version"] is not None})
    if len(versions) > 1:
        say(f"popnet: PoPs differ: versions {', '.join(map(str, versions))}")
    current = [state for state in told.values() if versions and state["version"] == versions[-1]]
    rules = current[0]["rules"] if current else []
    for rule in rules:
        for count in ("hits", "refused"):
            rule[count] = sum(state["rules"][rule["number"] - 1][count] for state in current)
    if output is Format.json:
        put_json({"version": versions[-1] if versions else None, "rules": rules})
        return
    if not rules:
        put("no rules: every request passes")
        return
    put_table(
        ("RULE", "WHEN", "THEN", "HITS", "REFUSED"),
        [
            (str(one["number"]), _when(one), _then(one), str(one["hits"]), str(one["refused"]))
            for one in rules
        ],
        "lllrr",
    )


def _when(rule: dict[str, Any]) -> str:
    words = [str(rule[key]) for key in ("host", "path") if rule.get(key)]
    words += [",".join(rule[key]) for key in ("method", "address", "country") if rule.get(key)]
    words += [f"{name}: {value}" for name, value in rule.get("header", {}).items()]
    return " ".join(words) or "always"


def _then(rule: dict[str, Any]) -> str:
    words = [rule["action"]]
    if rule.get("status"):
        words.append(str(rule["status"]))
    if rule.get("require"):
        words.append(rule["require"])
        words += [",".join(rule["of"])] if rule.get("of") else []
    if rate := rule.get("rate"):
        words.append(
            f"{rate['per_s']:g}/s burst {rate.get('burst', 1)} by {rate.get('by', 'address')}"
        )
    return " ".join(words)


@policy_app.command("set")
def set_policy(
    file: Annotated[Path, typer.Argument(help="YAML with `security`, and `access` if needed.")],
    name: NameOption = None,
) -> None:
    """Replace the whole policy at every PoP. PoPs that start later read it too.

    A file that is wrong changes nothing: every error names line, key, what was found, what is allowed.
    """
    lab = Lab.open(name)
    try:
        before = msgspec.json.decode(lab.dir.policy.read_bytes())
        new = policy.read(lab.plan, file, before.get("version", 0) + 1)
    except OSError as error:
        raise LabError(f"{error.filename}: {error.strerror}") from None
    body = msgspec.json.encode(new)
    pops = _running(lab)
    if pops:
        # The first PoP looks at all of it, keys included: nobody has it before somebody could read it.
        _ask(lab, pops[0], "PUT", "/policy", body)
    policy.write(lab.dir.policy, new)
    for pop in pops[1:]:
        _ask(lab, pop, "PUT", "/policy", body)
    put(f"version {new.version} with {len(new.rules)} rules is in force at {len(pops)} PoPs")


@policy_app.command("test")
def try_policy(
    url: Annotated[str, typer.Argument(help="What is asked for: https://app.example.com/admin/x")],
    visitor: Annotated[str, typer.Option("--from", help="Who asks: a visitor.")],
    method: Annotated[str, typer.Option("-X", "--method")] = "GET",
    header: Annotated[
        list[str] | None, typer.Option("-H", "--header", help="name: value; several are allowed.")
    ] = None,
    certificate: Annotated[
        str, typer.Option(help="The name in the visitor's client certificate.")
    ] = "",
    output: FormatOption = Format.table,
    name: NameOption = None,
) -> None:
    """Which rule a request would meet. Nothing is sent and nothing counted. Exit code 1 if it would be refused."""
    lab = Lab.open(name)
    node = lab.plan.nodes[lab.visitor(visitor)]
    rows = lab.wan("catchment", address=None)["rows"]
    pop = next((row["lands"] for row in rows if row["visitor"] == node.name), None)
    if pop is None:
        raise LabError(f"{node.name} lands at no PoP")
    parts = urlsplit(url if "//" in url else f"https://{url}")
    if not parts.hostname:
        raise LabError(f"{url!r} names no host")
    names = [one["name"] for one in lab.admin(pop, "GET", "/records").json()]
    known(parts.hostname, names, "host name")
    fields = {}
    for one in header or ():
        key, colon, value = one.partition(":")
        if not colon or not key.strip():
            raise LabError(f"{one!r} is no header; allowed: 'name: value'")
        fields[key.strip().lower()] = value.strip()
    question = {
        "host": parts.hostname,
        "path": (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        "method": method.upper(),
        "headers": fields,
        "address": node.address,
        "country": node.country or "XX",
        "certificate": certificate,
    }
    verdict = _ask(lab, pop, "POST", "/policy/test", json.dumps(question).encode())
    if output is Format.json:
        put_json(verdict | {"pop": pop})
    else:
        what = f"{verdict['status']} {verdict['detail']}" if verdict["status"] else "passes"
        put(f"{pop}: {verdict['name']}: {what}")
    raise typer.Exit(Code.CHECK_FAILED if verdict["status"] else Code.OK)


@policy_app.command()
def token(
    token_name: Annotated[str, typer.Argument(metavar="NAME", help="In access.service_tokens.")],
    output: FormatOption = Format.table,
    name: NameOption = None,
) -> None:
    """The two header fields that prove a service token, as curl takes them from a file.

    popnet policy token lab > token; popnet curl --from tokyo -- -H @token https://app.example.com/admin/
    """
    lab = Lab.open(name)
    known(token_name, lab.plan.world.access.service_tokens, "service token")
    fields = {
        "CF-Access-Client-Id": policy.token_id(token_name),
        "CF-Access-Client-Secret": policy.token_secret(lab.plan, token_name),
    }
    if output is Format.json:
        put_json(fields)
        return
    for field, value in fields.items():
        put(f"{field}: {value}")


@policy_app.command()
def certificate(
    certificate_name: Annotated[
        str, typer.Argument(metavar="NAME", help="In access.certificates.")
    ],
    name: NameOption = None,
) -> None:
    """The file with a client certificate and its key, for `curl --cert`."""
    lab = Lab.open(name)
    known(certificate_name, lab.plan.world.access.certificates, "client certificate")
    put(str(lab.dir.pki / f"client-{certificate_name}.pem"))
