"""`popnet policy show|set|test|token|certificate`: who may ask for what, while the lab runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from lab import everywhere, policy, policy_live
from lab.asking import full_url
from lab.cli.app import (
    Code,
    Format,
    FormatOption,
    NameOption,
    app,
    open_lab,
    put,
    put_json,
    put_table,
    say,
)
from lab.driver import Lab, LabError, known
from pops.core.records import Records, parse_records

_RULES = """A rule says what a request must be like, and one action; the first rule that matches decides:

    \b
    security:
      - {path: /admin/*, require: service_token}
      - {path: /search, rate_limit: {per_s: 2, burst: 5}}
      - {host: shop.example.com, country: [US, CA], block: 451}
      - {allow: all}
    access: {service_tokens: [lab]}

    \b
    Matches  path, host, method, country, visitor, address, header
    Actions  allow: all    block: true or a status    challenge: true    log: true
             require: service_token, jwt or mtls, with of: [NAME]    rate_limit: {per_s, burst, by}
    """

policy_app = typer.Typer(
    help=f"""The security policy of the edge: rules that every request meets at its ingress PoP.

    {_RULES}
    Written in the world file, and replaced while the lab runs by `popnet policy set`. More: docs/front-door.md.
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


@policy_app.command()
def show(output: FormatOption = Format.table, name: NameOption = None) -> None:
    """The rules in force, in their order, and how often each has decided, all PoPs together."""
    lab = open_lab(name)
    told = policy_live.ask(lab, everywhere.serving(lab))
    if not told.states:
        raise LabError(f"no answer from {', '.join(told.silent)}")
    for pop, error in told.errors.items():
        say(f"popnet: {pop} lets nothing pass: {error}")
    if told.silent:
        say(f"popnet: no answer from {', '.join(told.silent)} within {everywhere.ANSWER_S:g} s")
    for pop, version in told.versions.items():
        if version is not None and version != told.newest:
            say(f"popnet: {pop} has version {version} still; {told.newest} is the newest")
    current = [state for pop, state in told.states.items() if told.versions[pop] == told.newest]
    rules = _counted(current) if told.newest is not None else []
    if output is Format.json:
        put_json(
            {
                "version": told.newest,
                "rules": rules,
                "versions": told.versions,
                "errors": told.errors,
                "no_answer": told.silent,
            }
        )
    elif told.newest is None:
        put("no policy is in force: nothing passes")
    elif not rules:
        put("no rules: every request passes")
    else:
        put_table(
            ("RULE", "WHEN", "THEN", "HITS", "REFUSED"),
            [
                (str(one["number"]), _when(one), _then(one), str(one["hits"]), str(one["refused"]))
                for one in rules
            ],
            "lllrr",
        )


def _counted(states: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rules of one version, with what they have done at all PoPs."""
    return [
        rule
        | {
            count: sum(state["rules"][index][count] for state in states)
            for count in ("hits", "refused")
        }
        for index, rule in enumerate(states[0]["rules"])
    ]


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


@policy_app.command(
    "set",
    help=f"""Replace the whole policy at every PoP: popnet policy set guard.yaml

    FILE has `security`, and `access` if its rules need it; a whole world file will do. {_RULES}
    A file that is wrong changes nothing: every error names line, key, what was found, what is allowed. PoPs that
    start later read it too. Exit code 1: it is in force, and some PoP that runs does not have it.
    """,
)
def set_policy(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="YAML with `security`, and `access` if needed.")
    ],
    output: FormatOption = Format.table,
    name: NameOption = None,
) -> None:
    changed = policy_live.replace(Lab.open(name), file)
    new = changed.policy
    what = f"version {new.version} with {len(new.rules)} rules"
    if output is Format.json:
        put_json(
            {
                "version": new.version,
                "rules": len(new.rules),
                "reached": changed.reached,
                "missing": changed.missing,
            }
        )
    elif changed.missing:
        late = ", ".join(f"{pop} ({why})" for pop, why in changed.missing.items())
        where = ", ".join(changed.reached) or "no PoP"
        put(f"{what} is in force at {where}; not at {late}")
        say(
            "popnet: a PoP gets it when it resumes or starts; `popnet policy show` tells who has what"
        )
    elif changed.reached:
        put(f"{what} is in force at {len(changed.reached)} PoPs")
    else:
        put(f"{what} is written down; no PoP is running, each reads it when it starts")
    if changed.missing:
        raise typer.Exit(Code.CHECK_FAILED)


@policy_app.command("test")
def try_policy(
    url: Annotated[
        str,
        typer.Argument(help="What is asked for: https://app.example.com/admin/x", metavar="URL"),
    ],
    visitor: Annotated[str, typer.Option("--from", help="Who asks: a visitor.")],
    method: Annotated[str, typer.Option("-X", "--request", help="The HTTP method.")] = "GET",
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
    lab = open_lab(name)
    node = lab.plan.nodes[lab.visitor(visitor)]
    rows = lab.wan("catchment", address=None)["rows"]
    pop = next((row["lands"] for row in rows if row["visitor"] == node.name), None)
    if pop is None:
        raise LabError(f"{node.name} lands at no PoP")
    host, path = _split(url)
    records = Records(pop, parse_records(lab.admin(pop, "GET", "/records").body))
    host = known(host, [one.name for one in records.present()], "host name")
    fields = {}
    for one in header or ():
        key, colon, value = one.partition(":")
        if not colon or not key.strip():
            raise LabError(f"{one!r} is no header; allowed: 'name: value'")
        fields[key.strip().lower()] = value.strip()
    question = {
        "host": host,
        "path": path,
        "method": method,
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


def _split(url: str) -> tuple[str, str]:
    """Host and path with query."""
    parts = urlsplit(full_url(url))
    return parts.hostname or "", parts.path + (f"?{parts.query}" if parts.query else "")


@policy_app.command()
def token(
    token_name: Annotated[str, typer.Argument(metavar="NAME", help="In access.service_tokens.")],
    output: FormatOption = Format.table,
    name: NameOption = None,
) -> None:
    """The two header fields that prove a service token, as curl takes them from a file.

    popnet policy token lab > token; popnet curl --from tokyo -- -H @token https://app.example.com/admin/
    """
    lab = open_lab(name)
    token_name = _declared(token_name, policy_live.access(lab).service_tokens, "service_tokens")
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
    lab = open_lab(name)
    declared = _declared(certificate_name, policy_live.access(lab).certificates, "certificates")
    put(str(policy_live.certificate(lab, declared)))


def _declared(name: str, names: Sequence[str], section: str) -> str:
    if not names:
        raise LabError(f"access.{section} of the policy in force names none")
    return known(name, names, f"name in access.{section}")
