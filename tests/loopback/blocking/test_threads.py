"""Blocking clients, the threads that use them, and those that they use; their ends."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest

import librats
from librats import Identity, PeerNotConnected, RatsConfig, RatsError, UsageError
from librats.blocking import Peer, RatsClient, Stream

if TYPE_CHECKING:
    from tests.loopback.blocking.conftest import Meet, NewClient, OnAThread, Pair

TIMEOUT = 20
LOOPBACK = RatsConfig(listen_host="127.0.0.1", request_timeout=TIMEOUT)


def library_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("librats")}


def test_many_threads_may_use_one_client_at_once(pair: Pair) -> None:
    pair.b.on("double", lambda peer, data: 2 * data, concurrent=True)
    with ThreadPoolExecutor(8) as threads:
        doubled = list(threads.map(lambda n: pair.b_seen_by_a.request("double", n), range(200)))
    assert doubled == [2 * n for n in range(200)]


def test_blocking_verbs_on_the_loop_thread_raise_instead_of_waiting_for_themselves(pair: Pair) -> None:
    outcomes: SimpleQueue[BaseException | None] = SimpleQueue()
    pair.b.on_stream("s/1", lambda stream: stream.read())
    stream = pair.b_seen_by_a.open_stream("s/1")
    calls: list[Callable[[], object]] = [
        lambda: pair.a.send("chat"),
        lambda: pair.a.try_send("chat"),
        lambda: pair.a.on("chat", print),
        lambda: pair.a.peers,
        pair.a.stop,
        pair.a.start,
        pair.a.wait_closed,
        lambda: pair.b_seen_by_a.stats,
        lambda: stream.read(1),
        lambda: stream.write(b"x"),
    ]

    def call_all() -> None:
        for call in calls:
            try:
                call()
            except BaseException as error:
                outcomes.put(error)
            else:
                outcomes.put(None)

    pair.a._bridge.post(call_all)
    found = [outcomes.get(timeout=TIMEOUT) for _ in calls]
    assert [type(error) for error in found] == [UsageError] * len(calls)
    assert pair.a.is_running


async def test_it_works_on_the_thread_of_a_running_loop(new_client: NewClient, meet: Meet) -> None:
    def use() -> Any:
        with new_client() as a, new_client() as b:
            b.on("ask", lambda peer, data: data)
            return meet(a, b)[0].request("ask", 5)

    assert use() == 5


@pytest.fixture
def heeds_interrupts() -> Iterator[None]:
    """Have SIGINT raise KeyboardInterrupt, also where whoever started the tests in the background had it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_interrupts")
@pytest.mark.skipif(os.name != "posix", reason="needs a signal for one thread")
def test_ctrl_c_ends_a_waiting_call_and_what_it_waited_for(pair: Pair, on_a_thread: OnAThread) -> None:
    messages = pair.b.messages("chat")
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        while not pair.b._bridge.call(lambda: messages._iterator._box._waiters):
            continue
        signal.pthread_kill(main, signal.SIGINT)

    interrupting = on_a_thread(interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(messages)
    interrupting.result(TIMEOUT)
    pair.a.send("chat", "not lost")
    assert next(messages) == (pair.a_seen_by_b, "not lost")


def test_stopping_wakes_who_waits_on_other_threads(pair: Pair, on_a_thread: OnAThread) -> None:
    asked, gate = threading.Event(), threading.Event()

    @pair.b.on("never")
    def never(peer: Peer, data: Any) -> None:
        asked.set()
        gate.wait(TIMEOUT)

    waiting = on_a_thread(lambda: pair.b_seen_by_a.request("never", timeout=None))
    assert asked.wait(TIMEOUT)
    pair.a.stop()
    with pytest.raises(RatsError):
        waiting.result(TIMEOUT)
    gate.set()


def test_a_handler_may_stop_the_client_that_somebody_waits_for(pair: Pair, on_a_thread: OnAThread) -> None:
    @pair.b.on("shutdown")
    def shutdown(peer: Peer, data: Any) -> None:
        pair.b.stop()

    waiting = on_a_thread(pair.b.wait_closed)
    pair.a.send("shutdown")
    waiting.result(TIMEOUT)
    assert not pair.b.is_running
    pair.b.stop()


def test_stopping_takes_less_than_a_second_though_a_handler_never_ends(
    caplog: pytest.LogCaptureFixture, new_client: NewClient, meet: Meet
) -> None:
    with new_client() as a, new_client() as b:
        begun, gate = threading.Event(), threading.Event()

        @b.on("stuck")
        def stuck(peer: Peer, data: Any) -> None:
            begun.set()
            gate.wait(TIMEOUT)

        meet(a, b)
        a.send("stuck")
        assert begun.wait(TIMEOUT)
        started = time.monotonic()
        b.stop()
        b.stop()
        assert time.monotonic() - started < 1
        gate.set()
    assert "handlers still run" in caplog.text


def test_after_the_end_everything_says_so_and_what_has_arrived_can_be_read(pair: Pair) -> None:
    peer, messages = pair.b_seen_by_a, pair.a.messages("chat")
    arrived: SimpleQueue[Stream] = SimpleQueue()
    gate = threading.Event()
    received = threading.Event()
    pair.a.on("chat", lambda peer, data: received.set())

    @pair.b.on_stream("s/1")
    def hold(stream: Stream) -> None:
        stream.write(b"left over")
        arrived.put(stream)
        gate.wait(TIMEOUT)

    stream = peer.open_stream("s/1")
    arrived.get(timeout=TIMEOUT)
    pair.a_seen_by_b.send("chat", "last")
    assert received.wait(TIMEOUT)
    assert stream.read(4) == b"left"
    pair.a.stop()
    gate.set()

    assert list(messages) == [(peer, "last")]
    assert stream.read(5) == b" over"
    with pytest.raises(RatsError):
        stream.read(1)
    with pytest.raises(RatsError):
        stream.write(b"x")
    stream.reset()
    stream.close()
    for call in (peer.send, peer.open_stream, peer.request):
        with pytest.raises(PeerNotConnected):
            call("chat")
    with pytest.raises(PeerNotConnected):
        peer.ping()
    peer.close()
    assert peer.disconnected
    assert not peer.is_connected
    assert peer.stats.messages_received == 1
    with pytest.raises(UsageError, match="not running"):
        pair.a.send("chat")
    assert pair.a.statistics() == {"running": False}


def test_a_client_can_be_started_again_and_keeps_its_handlers(
    tmp_path: Path, new_client: NewClient, on_a_thread: OnAThread
) -> None:
    with new_client() as a:
        b = RatsClient(0, config=LOOPBACK, data_dir=tmp_path / "b")
        b.on("ask", lambda peer, data: data)
        ids = set()
        for number in range(3):
            with b:
                waiting = on_a_thread(b.wait_closed)
                ids.add(b.peer_id)
                assert a.connect(("127.0.0.1", b.listen_port)).request("ask", number) == number
            waiting.result(TIMEOUT)
        assert len(ids) == 1


def test_a_start_that_fails_leaves_nothing_behind(new_client: NewClient) -> None:
    with new_client() as a:
        before = library_threads()
        b = RatsClient(a.listen_port, config=LOOPBACK, identity=Identity.generate())
        with pytest.raises(librats.ConfigError):
            b.start()
        assert not b.is_running
        assert library_threads() <= before


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors as Linux shows them")
def test_many_lives_leave_threads_and_descriptors_as_before(new_client: NewClient, meet: Meet) -> None:
    def live() -> None:
        with new_client() as a, new_client() as b:
            b.on("ask", lambda peer, data: data)
            b.on_stream("s/1", lambda stream: stream.write(stream.read()))
            peer, _ = meet(a, b)
            assert peer.request("ask", 1) == 1
            with peer.open_stream("s/1") as stream:
                stream.write(b"echo")
                stream.write_eof()
                assert stream.read() == b"echo"

    def count() -> tuple[int, int]:
        gc.collect()
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    live()
    before = count()
    for _ in range(20):
        live()
    assert count() == before


FORGOTTEN = """
import sys, threading
from librats import Identity, RatsConfig
from librats.blocking import RatsClient
client = RatsClient(0, config=RatsConfig(listen_host="127.0.0.1"), identity=Identity.generate())
stuck = threading.Event()
def never_ends(peer, data):
    stuck.set()
    threading.Event().wait()
client.on("stuck", never_ends)
client.start()
peer = client.connect(("127.0.0.1", int(sys.argv[1])))
peer.send("ready")
stuck.wait()
print("the program is over")
"""


def test_a_forgotten_client_says_goodbye_and_does_not_keep_the_program_alive(new_client: NewClient) -> None:
    with new_client() as a:
        reasons: SimpleQueue[str] = SimpleQueue()
        a.on_disconnect(lambda peer, reason: reasons.put(reason))
        a.on("ready", lambda peer, data: peer.send("stuck"))
        command = [sys.executable, "-c", FORGOTTEN, str(a.listen_port)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        assert done.stdout.splitlines()[-1] == "the program is over"
        assert done.stderr == ""
        assert reasons.get(timeout=TIMEOUT) == "the peer shut down"


FORKED = """
import os
from librats import Identity, RatsConfig, UsageError
from librats.blocking import RatsClient
with RatsClient(0, config=RatsConfig(listen_host="127.0.0.1"), identity=Identity.generate()) as client:
    child = os.fork()
    if child == 0:
        for verb in (client.start, client.statistics, client.wait_closed):
            try:
                verb()
            except UsageError as error:
                print(error, flush=True)
        client.stop()
        raise SystemExit
    assert os.waitpid(child, 0)[1] == 0
    assert client.statistics()["running"]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_can_neither_use_nor_harm_the_client() -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.count("the client was started in another process") == 3
