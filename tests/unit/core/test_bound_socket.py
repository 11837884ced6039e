"""Sockets opened without the ``socket`` module are as those of it."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from librats._core.bound_socket import OPENS_BOUND, open_bound
from librats.errors import UsageError

pytestmark = pytest.mark.skipif(not OPENS_BOUND, reason="the system cannot open them in one call")

HOSTS = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


@pytest.fixture(params=HOSTS, ids=["ipv4", "ipv6"])
def opened(request: pytest.FixtureRequest) -> Iterator[tuple[int, str, int]]:
    family, host = request.param
    fd = open_bound(socket.inet_pton(family, host), 0)
    yield family, host, fd
    os.close(fd)


def test_a_socket_is_bound_and_neither_blocks_nor_is_inherited(opened: tuple[int, str, int]) -> None:
    family, host, fd = opened
    assert not os.get_blocking(fd)
    assert not os.get_inheritable(fd)
    with socket.socket(fileno=os.dup(fd)) as sock:
        assert (sock.family, sock.type) == (family, socket.SOCK_DGRAM)
        assert sock.getsockname()[0] == host
        assert sock.getsockname()[1] > 0
        if family == socket.AF_INET6:
            assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


def test_a_port_that_is_taken_is_told_and_no_descriptor_stays(opened: tuple[int, str, int]) -> None:
    family, host, fd = opened
    with socket.socket(fileno=os.dup(fd)) as sock:
        port = sock.getsockname()[1]
    with pytest.raises(OSError, match="in use") as caught:
        open_bound(socket.inet_pton(family, host), port)
    assert caught.value.errno == errno.EADDRINUSE
    following = os.dup(fd)
    with pytest.raises(OSError, match="in use"):
        open_bound(socket.inet_pton(family, host), port)
    again = os.dup(fd)
    os.close(following)
    os.close(again)
    assert again == following + 1


@pytest.mark.parametrize(("host", "port"), [(b"", 0), (bytes(5), 0), (bytes(4), -1), (bytes(4), 65536)])
def test_what_is_no_address_is_refused(host: bytes, port: int) -> None:
    with pytest.raises(UsageError):
        open_bound(host, port)
