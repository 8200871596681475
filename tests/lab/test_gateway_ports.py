"""Which ports the gateway takes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.gateway import ports
from lab.gateway.ports import PortError, Wanted, Where


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server((ports.LOOPBACK, 0)) as somebody:
        yield somebody.getsockname()[1]


def test_auto_takes_another_port_and_says_so(taken: int) -> None:
    made, note = ports.open_port("page", "auto", taken, ports.LOOPBACK)
    assert made is not None
    with made:
        port = made.getsockname()[1]
        assert made.getsockname()[0] == ports.LOOPBACK
    assert port != taken
    assert note == f"port {taken} is taken: the page is at port {port}"


def test_a_number_is_meant_as_it_is_said(taken: int) -> None:
    with pytest.raises(PortError, match=f"port {taken} for the proxy: somebody else has it"):
        ports.open_port("proxy", str(taken), ports.SOCKS_PORT, ports.LOOPBACK)


def test_off_opens_nothing() -> None:
    assert ports.open_port("page", "off", 8080, ports.LOOPBACK) == (None, None)


@pytest.mark.parametrize("text", ["auto", "off", "1", "65535"])
def test_what_a_port_may_be(text: str) -> None:
    assert ports.check("--web-port", text) == text


@pytest.mark.parametrize("text", ["", "0", "65536", "-1", "http", "²"])
def test_what_a_port_may_not_be(text: str) -> None:
    with pytest.raises(PortError, match="--web-port"):
        ports.check("--web-port", text)


def test_where_is_read_as_it_was_written(tmp_path: Path) -> None:
    where = Where(pid=1, bound_web=8080, web=18080, bound_socks=1080, socks=1080, city="tokyo")
    assert ports.read(tmp_path) is None
    ports.write(tmp_path, where)
    assert ports.read(tmp_path) == where
    assert where.page == "http://localhost:18080"
    assert where.proxy() == "socks5h://tokyo@localhost:1080"
    assert where.proxy("london") == "socks5h://london@localhost:1080"
    # A successor stays where its predecessor was.
    assert where.again(Wanted(city="x")) == Wanted(web="8080", socks="1080", city="x")
    assert Where(pid=1).again(Wanted(web="off")) == Wanted(web="off")


def test_published_ports_are_those_people_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ports.PUBLISHED_WEB, "18080")
    assert ports.published(ports.PUBLISHED_WEB, 8080) == 18080
    assert ports.published(ports.PUBLISHED_WEB, None) is None
    monkeypatch.setenv(ports.PUBLISHED_WEB, "")
    assert ports.published(ports.PUBLISHED_WEB, 8080) == 8080
