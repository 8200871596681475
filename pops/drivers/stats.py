"""What the data path counts, as plain numbers: a metric object per request would cost as much as
the request's headers. `metrics.py` shows them to Prometheus when it asks."""

from __future__ import annotations

from bisect import bisect_left

# Seconds until the response head; the way round the world and back, and an origin that thinks.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 10.0, 100.0)
ROLES = ("ingress", "relay", "egress")


class ProxyStats:
    def __init__(self) -> None:
        self.requests: dict[tuple[str, bytes], int] = {}
        self.refusals: dict[str, int] = {}
        self.aborted: dict[str, int] = dict.fromkeys(ROLES, 0)
        self.bytes_up: dict[str, int] = dict.fromkeys(ROLES, 0)
        self.bytes_down: dict[str, int] = dict.fromkeys(ROLES, 0)
        self.retries: dict[str, int] = {}  # by what had failed
        self.retries_refused = 0  # for want of budget
        self.head_buckets = {role: [0] * (len(BUCKETS) + 1) for role in ROLES}
        self.head_sum: dict[str, float] = dict.fromkeys(ROLES, 0.0)

    def answered(self, role: str, status: bytes, elapsed: float) -> None:
        key = (role, status)
        self.requests[key] = self.requests.get(key, 0) + 1
        self.head_buckets[role][bisect_left(BUCKETS, elapsed)] += 1
        self.head_sum[role] += elapsed

    def ended(self, role: str, up: int, down: int, code: int | None) -> None:
        """`code`: the error code of an exchange that did not end well."""
        self.bytes_up[role] += up
        self.bytes_down[role] += down
        if code is not None:
            self.aborted[role] += 1

    def retried(self, code: str) -> None:
        self.retries[code] = self.retries.get(code, 0) + 1

    def refused(self, code: str) -> None:
        self.refusals[code] = self.refusals.get(code, 0) + 1


class DnsStats:
    def __init__(self) -> None:
        self.answers: dict[tuple[str, int], int] = {}  # (transport, rcode)
        self.ignored = 0
        # Over UDP, to sources that ask too much: sent to TCP, and not answered at all.
        self.truncated = self.silenced = 0

    def answered(self, transport: str, response: bytes | None) -> None:
        if response is None:
            self.ignored += 1
            return
        key = (transport, response[3] & 0xF)
        self.answers[key] = self.answers.get(key, 0) + 1
