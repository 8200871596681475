"""The security policy at work in this PoP: read at the start, replaced while it runs, asked for each request.

A policy that cannot be read lets nothing pass: better no service than one without its guard.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from pops.core.credentials import Headers
from pops.core.ingress import Ingress, Visitor
from pops.core.policy import DENY_ALL, Judge, Verdict
from pops.core.rules import Policy, PolicyError, parse_policy
from runtime.clock import Clock
from runtime.events import EventLog

# A flood of requests must not become a flood of events: one a second and rule at most, which says how many there
# were beside it.
_EVENT_EVERY_S = 1.0
# Visitors write them, as long as they like.
_MOST_TEXT = 200


class Security:
    """Sets the ingress' guard. `wall` is the time of day, for credentials that expire."""

    def __init__(
        self,
        ingress: Ingress,
        *,
        clock: Clock,
        events: EventLog,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._ingress = ingress
        self._clock = clock
        self._wall = wall
        self._events = events
        self._told: dict[tuple[str, str], float] = {}
        self._untold: Counter[tuple[str, str]] = Counter()
        self.judge: Judge | None = None
        self.problem: str | None = None
        self.hits: Counter[tuple[str, str]] = Counter()  # (rule, passed | refused | logged)

    def load(self, path: Path | str) -> None:
        """Read the policy of the start."""
        try:
            self.replace(Path(path).read_bytes())
        except OSError as error:
            self._deny(f"{path}: {error.strerror or error}")
        except PolicyError as error:
            self._deny(f"{path}: {error}")

    def _deny(self, problem: str) -> None:
        self.judge, self.problem = None, problem
        self._ingress.guard = self._refuse_all
        self._events.emit("policy_unreadable", error=problem)

    def replace(self, text: bytes) -> Policy:
        """Put another policy in force, whole. Raises PolicyError, and the old one stays."""
        policy = parse_policy(text)
        judge = Judge(policy)
        self.judge, self.problem = judge, None
        # Rules have other names now.
        self._told.clear()
        self._untold.clear()
        # Without rules there is nothing to ask.
        self._ingress.guard = self._ask if policy.rules else None
        self._events.emit("policy_in_force", version=policy.version, rules=len(policy.rules))
        return policy

    def _refuse_all(
        self, method: bytes, host: str, path: bytes, headers: Headers, visitor: Visitor
    ) -> Verdict:
        self._tell("refused", DENY_ALL.name, DENY_ALL, method, host, path, visitor)
        return DENY_ALL

    def _ask(
        self, method: bytes, host: str, path: bytes, headers: Headers, visitor: Visitor
    ) -> Verdict:
        judge = self.judge
        assert judge is not None
        verdict = judge.judge(
            method,
            host,
            path,
            headers,
            address=visitor.address,
            country=visitor.country,
            certificate=visitor.certificate,
            now=self._clock(),
            wall=self._wall,
        )
        names = judge.names
        for number in verdict.logged:
            self._tell("logged", names[number], verdict, method, host, path, visitor)
        if verdict.passes:
            self.hits[names[verdict.rule], "passed"] += 1
        else:
            self._tell("refused", names[verdict.rule], verdict, method, host, path, visitor)
        return verdict

    def _tell(
        self,
        what: str,
        rule: str,
        verdict: Verdict,
        method: bytes,
        host: str,
        path: bytes,
        visitor: Visitor,
    ) -> None:
        """Count what a rule did with a request, and leave an event now and then."""
        key = (rule, what)
        self.hits[key] += 1
        now = self._clock()
        if now - self._told.get(key, -_EVENT_EVERY_S) < _EVENT_EVERY_S:
            self._untold[key] += 1
            return
        self._told[key] = now
        fields: dict[str, Any] = {
            "rule": rule,
            "method": _shown(method),
            "host": host[:_MOST_TEXT],
            # A query may hold what is nobody's business.
            "path": _shown(path.partition(b"?")[0]),
            "visitor": visitor.address,
            "country": visitor.country,
            "more": self._untold.pop(key, 0),
        }
        if what == "refused":
            fields |= {"status": verdict.status, "detail": verdict.detail}
        self._events.emit(f"request_{what}", **fields)

    def test(self, asked: Mapping[str, Any]) -> Verdict:
        """What would be said of a request; nothing is counted. Raises PolicyError for a wrong question."""
        if self.judge is None:
            return DENY_ALL if self.problem is not None else Verdict(0, "no rule")
        question = _question(asked)
        return self.judge.judge(
            question.method.encode(),
            question.host.lower(),
            question.path.encode(),
            [(name.lower().encode(), value.encode()) for name, value in question.headers.items()],
            address=question.address,
            country=question.country,
            certificate=question.certificate,
            now=self._clock(),
            wall=self._wall,
            peek=True,
        )

    def snapshot(self) -> dict[str, Any]:
        """For the admin socket: every rule with what it did."""
        judge = self.judge
        if judge is None:
            return {"error": self.problem, "version": None, "rules": []}
        rules = [
            {
                **msgspec.to_builtins(rule),
                "number": number,
                "name": judge.policy.named(number),
                "hits": judge.hits[number],
                "refused": judge.refusals[number],
            }
            for number, rule in enumerate(judge.policy.rules, 1)
        ]
        return {
            "error": None,
            "version": judge.policy.version,
            "rules": rules,
            "no_rule": judge.hits[0],
        }


def _shown(text: bytes) -> str:
    return text[:_MOST_TEXT].decode("latin-1")


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request as `popnet policy test` describes it."""

    host: str
    path: str = "/"
    method: str = "GET"
    headers: dict[str, str] = {}
    address: str = ""
    country: str = "XX"
    certificate: str = ""


def _question(asked: Mapping[str, Any]) -> Question:
    try:
        return msgspec.convert(asked, Question)
    except msgspec.ValidationError as error:
        raise PolicyError("request", "something else", str(error)) from None
