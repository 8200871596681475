"""Passes link state on between neighbours, over the control connections; what is passed on when is `routing.lsdb`'s.

POST /.popnet/lsas      a list of LSAs                                       204
POST /.popnet/digest    what the sender knows, by origin and version         200, what it lacks and what we would like

Whoever dials sends: a digest first, on every new connection, then LSAs as they come. What comes within a few
milliseconds leaves in one POST; news of a death does not wait. One POST at a time and neighbour is the rule, so that a
slow link gets fewer and larger ones; urgent ones overtake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

from pops.drivers.posts import SendPost
from routing.errors import LsaError
from routing.lsa import (
    LARGEST,
    Lsa,
    decode_answer,
    decode_digest,
    decode_lsas,
    encode_answer,
    encode_digest,
    encode_lsas,
)
from routing.lsdb import Lsdb, Timed
from runtime.clock import Clock
from runtime.events import EventLog
from runtime.http2 import Http2Connection

LSAS_PATH = b"/.popnet/lsas"
DIGEST_PATH = b"/.popnet/digest"
PATHS = frozenset((LSAS_PATH, DIGEST_PATH))
# A neighbour that answers nothing is not given more and more.
_MOST_POSTS = 8
# At the start of a whole world everybody has news: it waits for company so many times as long.
_STARTING = 5


class _Talk:
    """What we have to say on one control connection."""

    __slots__ = ("control", "neighbor", "posts", "synced", "timer", "unsent")

    def __init__(self, neighbor: str, control: Http2Connection) -> None:
        self.neighbor = neighbor
        self.control = control
        self.unsent: dict[str, Lsa] = {}
        self.posts = 0
        self.synced = False
        self.timer: asyncio.Handle | None = None


class Flooding:
    """`on_news(moved, urgent, changed)` when the database has learnt something. `hold_s`: how long news that is not
    urgent waits for company; `compare_s`: between two digests to one neighbour after the other."""

    def __init__(
        self,
        me: str,
        lsdb: Lsdb,
        *,
        hold_s: float,
        compare_s: float,
        on_news: Callable[[list[tuple[str, str]], bool, bool], None],
        events: EventLog,
        clock: Clock,
    ) -> None:
        self.me = me
        self.lsdb = lsdb
        self.originated = self.received = self.duplicates = self.hearsay = 0
        self.sent = self.posts = self.digests = 0
        self._hold_s = hold_s
        self.starting = True  # until its owner says otherwise
        self._compare_s = compare_s
        self._on_news = on_news
        self._events = events
        self._clock = clock
        self._talks: dict[str, _Talk] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = inf
        self._comparing: asyncio.TimerHandle | None = None
        self._next_compared = 0

    # Connections

    def up(self, neighbor: str, control: Http2Connection) -> None:
        talk = self._talks[neighbor] = _Talk(neighbor, control)
        self._compare(talk)
        if self._comparing is None:
            self._comparing = asyncio.get_running_loop().call_later(
                self._compare_s, self._compare_with_next
            )

    def down(self, neighbor: str) -> None:
        talk = self._talks.pop(neighbor, None)
        if talk is not None and talk.timer is not None:
            talk.timer.cancel()

    def synced(self, neighbor: str) -> bool:
        """The first digest on this connection has been answered, and what followed from it is on its way."""
        talk = self._talks.get(neighbor)
        return talk is not None and talk.synced

    @property
    def quiet(self) -> bool:
        """All that we had to say has been answered."""
        return not any(talk.unsent or talk.posts for talk in self._talks.values())

    def stop(self) -> None:
        for handle in (self._timer, self._comparing):
            if handle is not None:
                handle.cancel()
        self._timer = self._comparing = None
        for name in list(self._talks):
            self.down(name)

    # Our own words

    def look(self) -> Timed:
        """Say what is due, and come back when more is."""
        timed = self.lsdb.handle_timer(self._clock() + 1e-6)
        if timed.own is not None:
            self.say(timed.own)
        for origin in timed.expired:
            self._events.emit("lsa_expired", origin=origin)
        self._arm()
        return timed

    def say(self, own: Lsa) -> None:
        """To every neighbour, at once: it was held back long enough, or must not wait."""
        self.originated += 1
        for talk in self._talks.values():
            talk.unsent[own.origin] = own
            self._post(talk)

    def _arm(self) -> None:
        due = self.lsdb.next_at
        if due == self._armed_for:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed_for = due
        if due < inf:
            wait = max(0.0, due - self._clock())
            self._timer = asyncio.get_running_loop().call_later(wait, self._ring)

    def _ring(self) -> None:
        self._timer, self._armed_for = None, inf
        timed = self.look()
        if timed.own is not None or timed.expired:
            self._on_news([], timed.urgent, True)

    # Others' words

    def posted(self, sender: str, path: bytes, body: bytes) -> tuple[int, bytes]:
        """A neighbour's POST; the status and the body of the answer."""
        try:
            if path == DIGEST_PATH:
                answer = self.lsdb.answer(decode_digest(body), self._clock())
                return 200, encode_answer(answer)
            self.learn(sender, decode_lsas(body))
        except LsaError as error:
            self._events.emit("overlay_nonsense", neighbor=sender, reason=str(error))
            return 400, b""
        return 204, b""

    def learn(self, sender: str, lsas: list[Lsa]) -> None:
        # LSAs are not signed. But who is our neighbour speaks to us itself, so nobody else's word about it is taken;
        # in a full mesh that leaves a liar nobody to speak for but itself.
        first_hand = [lsa for lsa in lsas if lsa.origin == sender or not self.synced(lsa.origin)]
        self.hearsay += len(lsas) - len(first_hand)
        news = self.lsdb.receive(first_hand, self._clock())
        self.received += len(news.fresh)
        self.duplicates += len(first_hand) - len(news.fresh)
        names = list(self._talks)
        for lsa in news.fresh:
            for name in self.lsdb.beyond(lsa, sender, names):
                self._tell(self._talks[name], lsa, urgent=news.urgent)
        timed = self.look()
        changed = news.changed or timed.own is not None
        if news.fresh or changed:
            self._on_news(news.moved, news.urgent or timed.urgent, changed)

    # Sending

    def _tell(self, talk: _Talk, lsa: Lsa, *, urgent: bool) -> None:
        talk.unsent[lsa.origin] = lsa
        if urgent:
            self._post(talk)
        elif talk.timer is None and not talk.posts:
            hold_s = self._hold_s * (_STARTING if self.starting else 1)
            talk.timer = asyncio.get_running_loop().call_later(hold_s, self._post, talk)

    def _post(self, talk: _Talk) -> None:
        if talk.timer is not None:
            talk.timer.cancel()
            talk.timer = None
        if not talk.unsent or talk.posts >= _MOST_POSTS:
            return
        lsas = self.lsdb.aged(talk.unsent.values(), self._clock())
        talk.unsent.clear()
        talk.posts += 1
        self.posts += 1
        self.sent += len(lsas)

        def done(answer: bytes | None) -> None:
            talk.posts -= 1
            self._answered(talk, answer)

        SendPost(talk.control, LSAS_PATH, encode_lsas(lsas), done)

    def _answered(self, talk: _Talk, answer: bytes | None) -> None:
        if self._talks.get(talk.neighbor) is not talk:
            return
        if answer is None:
            # What it has missed is not known here; a new connection begins with a digest.
            talk.control.abort()
        elif talk.unsent and talk.timer is None:
            self._post(talk)
        elif not talk.posts:
            self._on_news([], False, False)  # whoever waits for silence

    # Comparing

    def compare_with_somebody(self, but: str) -> None:
        """After the death of the link to `but`: what it was about to tell us, another one knows."""
        names = sorted(name for name in self._talks if name != but)
        if names:
            self._compare(self._talks[names[self._next_compared % len(names)]])

    def _compare_with_next(self) -> None:
        loop = asyncio.get_running_loop()
        self._comparing = loop.call_later(self._compare_s, self._compare_with_next)
        self._next_compared += 1
        self.compare_with_somebody("")

    def _compare(self, talk: _Talk) -> None:
        self.digests += 1

        def done(answer: bytes | None) -> None:
            if self._talks.get(talk.neighbor) is talk:
                self._compared(talk, answer)

        digest = encode_digest(self.lsdb.digest())
        SendPost(talk.control, DIGEST_PATH, digest, done, largest=LARGEST)

    def _compared(self, talk: _Talk, body: bytes | None) -> None:
        if body is None:
            talk.control.abort()
            return
        try:
            answer = decode_answer(body)
        except LsaError as error:
            self._events.emit("overlay_nonsense", neighbor=talk.neighbor, reason=str(error))
            talk.control.abort()
            return
        for lsa in self.lsdb.selected(answer.wanted, self._clock()):
            talk.unsent[lsa.origin] = lsa
        self._post(talk)
        talk.synced = True
        self.learn(talk.neighbor, list(answer.newer))
        if not answer.newer:
            self._on_news([], False, False)
