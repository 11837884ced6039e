"""Connections that are accepted: what has come before, what the system has no room for, and what goes wrong."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from typing import Any, cast

import pytest
from tests.unit.runtime.test_tcp_transport import LOCAL, WAIT, Recorder, complaints_of_the_loop

from librats.runtime import tcp_transport
from librats.runtime.tcp_transport import TcpAcceptor


class Listener:
    """Stands for a socket that listens, and for what the system says when it is asked for a connection."""

    def __init__(self, *answers: Exception | tuple[socket.socket, Any]) -> None:
        self.real = socket.create_server((LOCAL, 0))
        self.answers = list(answers)

    def fileno(self) -> int:
        return self.real.fileno()

    def close(self) -> None:
        self.real.close()

    def accept(self) -> tuple[socket.socket, Any]:
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        return self.real.accept()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT):
        while not is_so():
            await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.001)


async def accepted_by(listener: Listener, factory: Callable[[], Any]) -> tuple[TcpAcceptor, socket.socket]:
    acceptor = TcpAcceptor(asyncio.get_running_loop(), cast("Any", listener), factory)
    dialled = socket.create_connection(listener.real.getsockname())
    return acceptor, dialled


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_where_the_system_has_no_room_accepting_waits_and_goes_on(
    number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tcp_transport, "ACCEPT_PAUSE", 0.01)
    made: asyncio.Queue[Recorder] = asyncio.Queue()

    def factory() -> Recorder:
        made.put_nowait(recorder := Recorder())
        return recorder

    async with asyncio.timeout(WAIT):
        acceptor, dialled = await accepted_by(Listener(OSError(number, os.strerror(number))), factory)
        recorder = await made.get()
        assert os.strerror(number) in caplog.text
        acceptor.close()
        dialled.close()
        await recorder.ended


async def test_closing_an_acceptor_that_waits_for_room_ends_that_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_transport, "ACCEPT_PAUSE", 0.01)
    complaints = complaints_of_the_loop()
    listener = Listener(OSError(errno.EMFILE, "no room"))
    acceptor, dialled = await accepted_by(listener, Recorder)
    await until(lambda: not listener.answers)
    acceptor.close()
    acceptor.close()
    await asyncio.sleep(0.03)
    assert listener.fileno() == -1
    assert complaints == []
    dialled.close()


async def test_what_has_come_before_a_connection_is_accepted_is_read_with_it() -> None:
    loop = asyncio.get_running_loop()
    listener = Listener()
    made: list[Recorder] = []
    heard_at_once: list[bytes] = []

    def factory() -> Recorder:
        made.append(Recorder())
        loop.call_soon(lambda: heard_at_once.append(bytes(made[0].received)))
        return made[-1]

    dialled = socket.create_connection(listener.real.getsockname())
    dialled.sendall(b"I speak first")
    async with asyncio.timeout(WAIT):
        acceptor = TcpAcceptor(loop, cast("Any", listener), factory)
        await until(lambda: bool(heard_at_once))
        assert heard_at_once == [b"I speak first"]
        dialled.sendall(b", and go on")
        await until(lambda: made[0].received == b"I speak first, and go on")
        acceptor.close()
        dialled.close()
        await made[0].ended


async def test_a_protocol_that_reads_nothing_at_first_is_not_handed_what_has_come() -> None:
    class Shy(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.pause_reading()

    listener = Listener()
    made: list[Shy] = []

    def factory() -> Shy:
        made.append(Shy())
        return made[-1]

    dialled = socket.create_connection(listener.real.getsockname())
    dialled.sendall(b"hello")
    async with asyncio.timeout(WAIT):
        acceptor = TcpAcceptor(asyncio.get_running_loop(), cast("Any", listener), factory)
        await until(lambda: bool(made))
        await asyncio.sleep(0.01)
        assert made[0].received == b""
        made[0].transport.resume_reading()
        await until(lambda: made[0].received == b"hello")
        acceptor.close()
        dialled.close()
        await made[0].ended


async def test_a_connection_that_is_gone_before_it_is_accepted_is_passed_over() -> None:
    made: asyncio.Queue[Recorder] = asyncio.Queue()

    def factory() -> Recorder:
        made.put_nowait(recorder := Recorder())
        return recorder

    async with asyncio.timeout(WAIT):
        listener = Listener(ConnectionAbortedError(), BlockingIOError())
        acceptor, dialled = await accepted_by(listener, factory)
        recorder = await made.get()
        acceptor.close()
        dialled.close()
        await recorder.ended


async def test_a_factory_that_fails_costs_its_connection_and_no_other() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
    made: list[Recorder] = []

    def factory() -> Recorder:
        if not told:
            raise ValueError("not this one")
        made.append(Recorder())
        return made[-1]

    async with asyncio.timeout(WAIT):
        listener = Listener()
        acceptor, first = await accepted_by(listener, factory)
        first.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(first, 1) == b""
        first.close()
        second = socket.create_connection(listener.real.getsockname())
        await until(lambda: bool(made))
        assert [str(context["exception"]) for context in told] == ["not this one"]
        acceptor.close()
        second.close()
        await made[0].ended


async def test_what_else_is_wrong_with_a_listening_socket_is_told_to_the_loop() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
    acceptor, dialled = await accepted_by(Listener(OSError(errno.EPERM, "forbidden")), Recorder)
    await until(lambda: bool(told))
    acceptor.close()
    dialled.close()
    assert "forbidden" in str(told[0]["exception"])
