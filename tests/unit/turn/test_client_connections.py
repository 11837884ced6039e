"""TCP connections to peers (RFC 6062)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.reference.turn_run import PEER, TurnRun
from tests.reference.turn_server import ReferenceServer

from librats._core.stun import parse, serialise
from librats.errors import LocalProtocolError, TurnError
from librats.stun.constants import Attribute, MessageClass, Method
from librats.testing.entropy import SeededEntropy
from librats.turn.allocation_events import TurnLost
from librats.turn.client_auth import Login
from librats.turn.client_connections import ConnectionBinding
from librats.turn.client_events import Connected, IncomingConnection, RequestFailed

BOB = Login("bob", "secret")
USERS = {"bob": "secret"}


def allocated(**settings: Any) -> TurnRun:
    run = TurnRun(ReferenceServer(USERS, reliable=True), login=BOB, reliable=True, relays_tcp=True, **settings)
    run.run(1.0)
    assert run.client.is_allocated
    return run


def attempt(run: TurnRun) -> None:
    attributes = [(Attribute.CONNECTION_ID, 9), (Attribute.XOR_PEER_ADDRESS, PEER)]
    run.client.receive_data(
        serialise(Method.CONNECTION_ATTEMPT, MessageClass.INDICATION, b"twelve bytes", attributes), now=run.now
    )
    run.pump()


def test_an_allocation_for_tcp_asks_for_tcp() -> None:
    run = allocated()
    assert run.server.requests[-1][1].get(Attribute.REQUESTED_TRANSPORT) == 6


def test_the_server_connects_to_a_peer() -> None:
    run = allocated()
    number = run.client.connect(PEER, now=run.now)
    run.run(1.0)
    assert run.of(Connected) == [Connected(number, 77, PEER)]


@pytest.mark.parametrize("code", [403, 446, 447])
def test_a_connection_that_the_server_refuses_is_an_error(code: int) -> None:
    run = allocated()
    run.server.fault = lambda *_: (code, [])
    number = run.client.connect(PEER, now=run.now)
    run.run(1.0)
    [failed] = run.of(RequestFailed)
    assert failed.request == number
    assert isinstance(failed.error, TurnError)
    assert failed.error.code == code
    assert not run.of(TurnLost)


def test_a_connection_asked_for_is_lost_with_its_allocation() -> None:
    run = allocated()
    run.is_down = True
    run.client.connect(PEER, now=run.now)
    run.client.transport_lost("reset", now=run.now)
    run.pump()
    assert len(run.of(RequestFailed)) == 1


def test_only_an_allocation_for_tcp_connects() -> None:
    run = TurnRun(ReferenceServer(USERS), login=BOB)
    run.run(1.0)
    with pytest.raises(LocalProtocolError):
        run.client.connect(PEER, now=run.now)


def test_a_peer_that_connects_is_told_where_it_has_a_permission() -> None:
    run = allocated()
    attempt(run)
    assert not run.of(IncomingConnection)
    assert run.client.counters.uninvited == 1
    run.client.create_permission([PEER.host], now=run.now)
    run.run(1.0)
    attempt(run)
    assert run.of(IncomingConnection) == [IncomingConnection(9, PEER)]


# The connection to be bound


def answered(run: TurnRun, binding: ConnectionBinding, rest: bytes = b"") -> bytes:
    """Let the reference server answer what the binding sends, until it is bound or refused."""
    data = b""
    for _ in range(5):
        if not (out := binding.data_to_send()):
            break
        request = parse(out)
        assert request.method == Method.CONNECTION_BIND
        [(answer, _)] = run.server.receive(out, run.local, run.now)
        if parse(answer).message_class == MessageClass.SUCCESS_RESPONSE:
            answer += rest
        data += b"".join(binding.receive_data(bytes([byte]), now=run.now) for byte in answer[:-1])
        data += binding.receive_data(answer[-1:], now=run.now) if not binding.is_bound else answer[-1:]
    return data


def bind(run: TurnRun) -> ConnectionBinding:
    return ConnectionBinding(77, run.client.authentication, SeededEntropy(3), now=run.now)


def serve_binding(run: TurnRun, answer: list[tuple[int, object]] | int) -> None:
    serve = run.server._serve
    run.server._serve = lambda method, *rest: (  # type: ignore[method-assign]
        answer if method == Method.CONNECTION_BIND else serve(method, *rest)
    )


def test_a_connection_is_bound_byte_by_byte() -> None:
    run = allocated()
    serve_binding(run, [])
    binding = bind(run)
    assert answered(run, binding) == b""
    assert binding.is_bound
    assert run.server.requests[-1][1].get(Attribute.CONNECTION_ID) == 77
    with pytest.raises(LocalProtocolError):
        binding.receive_data(b"x", now=run.now)


def test_the_peers_first_bytes_may_follow_the_answer_at_once() -> None:
    run = allocated()
    serve_binding(run, [])
    binding = bind(run)
    [(answer, _)] = run.server.receive(binding.data_to_send(), run.local, run.now)
    assert binding.receive_data(answer + b"\xff\xffhello", now=run.now) == b"\xff\xffhello"


def test_a_stale_nonce_is_answered_with_the_new_one() -> None:
    run = allocated()
    serve_binding(run, [])
    run.server.nonces += 1
    binding = bind(run)
    answered(run, binding)
    assert binding.is_bound


def test_a_binding_that_is_refused_or_nonsense_is_an_error() -> None:
    run = allocated()
    serve_binding(run, 400)
    binding = bind(run)
    answered(run, binding)
    assert isinstance(binding.error, TurnError)
    other = bind(run)
    assert other.receive_data(b"SSH-2.0-OpenSSH", now=run.now) == b""
    assert other.error is not None


def test_a_forged_answer_binds_nothing() -> None:
    run = allocated()
    binding = bind(run)
    request = parse(binding.data_to_send())
    forged = serialise(Method.CONNECTION_BIND, MessageClass.SUCCESS_RESPONSE, request.transaction_id)
    assert binding.receive_data(forged + b"evil", now=run.now) == b""
    assert not binding.is_bound
    assert binding.error is not None
