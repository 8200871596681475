"""The policy of a running lab: what PoPs say of theirs, and another one for all of them.

It is written down before any PoP is told: one that starts in between reads it. PoPs are told all at once, and one
that is silent keeps nobody waiting but the command.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from lab import everywhere, pki, policy, policy_file
from lab.alone import alone
from lab.driver import Lab, LabError
from pops.core.rules import Policy, PolicyError, parse_policy
from topology.model_security import Access


@dataclass(frozen=True, slots=True)
class Change:
    """`missing`: PoPs that run and do not have it, each with why."""

    policy: Policy
    reached: list[str]
    missing: dict[str, str]


@dataclass(frozen=True, slots=True)
class Told:
    """What each PoP that answered says of its policy; `silent`: the other PoPs that run."""

    states: dict[str, dict[str, Any]]
    silent: list[str]

    @property
    def newest(self) -> int | None:
        return max((v for v in self.versions.values() if v is not None), default=None)

    @property
    def versions(self) -> dict[str, int | None]:
        return {pop: state["version"] for pop, state in self.states.items()}

    @property
    def errors(self) -> dict[str, str]:
        """Why a PoP lets nothing pass."""
        return {pop: state["error"] for pop, state in self.states.items() if state["error"]}


def ask(lab: Lab, pops: list[str]) -> Told:
    told = everywhere.ask(lab, pops, "GET", "/policy")
    return Told({pop: answer.json() for pop, answer in told.answers.items()}, told.silent)


def replace(lab: Lab, file: Path) -> Change:
    """Put the policy of a file in force at every PoP. Raises WorldError, LabError: then nothing has changed."""
    try:
        new, access = policy_file.read(lab.plan, file)
    except PolicyError as error:
        raise LabError(f"{file}: {error}") from None
    try:
        # Two at the same time would give two policies one version.
        with alone(lab.dir.policy.with_suffix(".lock")):
            return _replace(lab, new, access)
    except OSError as error:
        raise LabError(f"{error.filename}: {error.strerror}") from None


def _replace(lab: Lab, new: Policy, access: Access) -> Change:
    pops = _running(lab)
    new = msgspec.structs.replace(new, version=1 + _newest(lab, pops))
    for name in access.certificates:
        if not certificate(lab, name).exists():
            pki.issue_client(lab.dir.pki, name)
    policy.write_whole(_access_file(lab), msgspec.json.encode(access))
    policy.write(lab.dir.policy, new)
    told = everywhere.ask(lab, pops, "PUT", "/policy", msgspec.json.encode(new))
    missing = dict.fromkeys(told.silent, f"no answer within {everywhere.ANSWER_S:g} s")
    for pop, answer in told.answers.items():
        if answer.status >= 300:
            missing[pop] = answer.body[:300].decode(errors="replace").strip()
    return Change(
        new,
        [pop for pop in pops if pop not in missing],
        {pop: missing[pop] for pop in pops if pop in missing},
    )


def _running(lab: Lab) -> list[str]:
    """None is no error here: PoPs read what is written down when they start."""
    ready = {one["name"] for one in lab.status()["nodes"] if one["ready"]}
    return [pop for pop in lab.plan.pops if pop in ready]


def _newest(lab: Lab, pops: list[str]) -> int:
    """The version written down; where nobody can read that any more, the highest that a PoP has: this mends it."""
    with contextlib.suppress(OSError, PolicyError):
        return parse_policy(lab.dir.policy.read_bytes()).version
    return ask(lab, pops).newest or 0


def access(lab: Lab) -> Access:
    """The credentials of the policy in force: those of the world file until it was replaced."""
    file = _access_file(lab)
    try:
        return msgspec.json.decode(file.read_bytes(), type=Access)
    except FileNotFoundError:
        return lab.plan.world.access
    except (OSError, ValueError) as error:
        raise LabError(f"{file}: {error}; `popnet policy set` writes it anew") from None


def certificate(lab: Lab, name: str) -> Path:
    return lab.dir.pki / f"client-{name}.pem"


def _access_file(lab: Lab) -> Path:
    return lab.dir.policy.with_name("access.json")
