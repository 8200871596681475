"""How the congestion window moves: the rules of a kernel's reno, segment by segment."""

from __future__ import annotations

from wan.virtual.congestion import Reno
from wan.virtual.sending import Sender, Unit

MSS = 1000


def test_a_window_acknowledged_is_one_segment_more_whatever_the_pieces() -> None:
    reno = Reno(MSS)
    reno.ssthresh = reno.window = 14 * MSS
    seen = []
    for _ in range(10):
        left = int(reno.window)
        while left:
            size = min(2 * MSS, left)
            reno.acked(size)
            left -= size
        seen.append(reno.window / MSS)
    assert seen == [15, 16, 17, 18, 19, 20, 21, 22, 23, 24]


def test_slow_start_ends_at_the_threshold_and_what_is_over_counts() -> None:
    reno = Reno(MSS)
    reno.ssthresh = 12 * MSS
    reno.acked(5 * MSS)
    assert reno.window == 12 * MSS
    reno.acked(9 * MSS)
    assert reno.window == 13 * MSS


def test_half_of_a_window_is_whole_segments() -> None:
    reno = Reno(MSS)
    reno.window = 21 * MSS
    reno.lost()
    assert reno.window == reno.ssthresh == 10 * MSS
    reno.timed_out()
    assert (reno.window, reno.ssthresh) == (MSS, 5 * MSS)
    reno.lost()
    assert reno.ssthresh == 2 * MSS


def test_what_was_reported_already_does_not_widen_the_window_again() -> None:
    """The acknowledgement that ends a recovery covers a whole window, all but one segment of it known."""
    sent: list[Unit] = []
    sender = Sender(MSS, sent.append)
    sender.window = 1 << 20
    sender.write(bytes(40 * MSS))
    sender.push(0.0)
    assert len(sent) == 10
    for number in range(1, 10):
        sender.take(0, 1 << 20, (number * MSS,), 0.1 + number / 1000)
    half = 5 * MSS
    assert sender.reno.window == half
    assert [unit.seq for unit in sent].count(0) == 2
    flight = {unit.seq for unit in sent}
    for seq in sorted(flight)[10:]:
        sender.take(0, 1 << 20, (seq,), 0.2)
    sender.take(max(flight) + MSS, 1 << 20, (), 0.3)
    # Less than a window was news: the lost segment, and nothing else.
    assert sender.reno.window == half
