"""Every pair of ends that is measured, with few messages: that all of them arrive, and that both ends tell."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from librats.cli.measuring.bulk import bulk_rate, run_bulk
from librats.cli.measuring.connecting import connect_time
from librats.cli.measuring.handshakes import librats_handshake_rate, x25519_floor_rate
from librats.cli.measuring.idling import IdlePeers, idle_peers
from librats.cli.measuring.importing import import_time
from librats.cli.measuring.messages import message_rate
from librats.cli.measuring.pipeline import pipeline_rate
from librats.cli.measuring.processes import MeasuringFailed, end_command, run_both, started, told_by
from librats.cli.measuring.requests import request_time
from librats.cli.measuring.sealing import librats_opening_rate, librats_sealing_rate, pynacl_sealing_rate

if TYPE_CHECKING:
    from tests.loopback.cli.conftest import Run

WAIT = 20.0
HERE = "librats.cli.measuring"


@pytest.mark.parametrize("ends", ["messages:librats", "messages:streams"])
def test_messages_arrive_and_are_timed(ends: str) -> None:
    sample = message_rate(f"{HERE}.{ends}", 500)
    assert sample.value > 0
    assert sample.cpu is not None
    assert sample.cpu > 0


@pytest.mark.parametrize("ends", ["requests:librats", "requests:protocol"])
def test_requests_are_answered_and_timed(ends: str) -> None:
    sample = request_time(f"{HERE}.{ends}", 50)
    assert 0 < sample.value < 1e6


@pytest.mark.parametrize("ends", ["bulk:librats", "bulk:streams"])
def test_blocks_arrive_and_are_timed(ends: str) -> None:
    sample = bulk_rate(f"{HERE}.{ends}", 32)
    assert sample.value > 0


def test_hashes_of_bulk_data_agree_and_memory_is_told() -> None:
    both = run_bulk(f"{HERE}.bulk:librats", 32, hashing=True)
    assert both.seconds > 0
    if sys.platform != "win32":
        assert both.receiver["peak_mib"] > 1


@pytest.mark.parametrize("ends", ["connecting:librats", "connecting:streams"])
def test_connections_are_made_and_timed(ends: str) -> None:
    sample = connect_time(f"{HERE}.{ends}", 5)
    assert 0 < sample.value < 1e4


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process holds at the moment")
@pytest.mark.parametrize("ends", ["idling:librats", "idling:streams"])
def test_idle_peers_take_memory(ends: str) -> None:
    told = idle_peers(f"{HERE}.{ends}", 60)
    assert 5 < told.base.value < 200
    assert -20 < told.each.value < 200  # what is freed meanwhile may outweigh so few


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process holds at the moment")
def test_two_thousand_sessions_over_one_udp_port_take_less_than_sixty_kilobytes_each() -> None:
    assert 0 < idle_peers(f"{HERE}.idling:librats", 2000, transport="udp").each.value < 60


def test_memory_that_the_system_does_not_tell_is_said_so() -> None:
    with pytest.raises(MeasuringFailed, match="does not tell"):
        IdlePeers({"empty_kib": None, "first_kib": None, "full_kib": None, "first": 1, "full": 2})


def test_an_import_takes_time() -> None:
    assert import_time("http.server").value > -1000


def test_operations_are_counted() -> None:
    assert librats_sealing_rate(2).value > 0
    assert librats_opening_rate(2).value > 0
    assert pynacl_sealing_rate(1).value > 0
    assert librats_handshake_rate(2).value > 0
    assert x25519_floor_rate(2).value > 0


async def test_the_command_measures_and_tells(run: Run) -> None:
    done = await run("bench", "messages", "aead", "--scale", "0.01", "--json")
    assert done.status == 0, done.stderr
    figures = [event for event in done.events if event["event"] == "figure"]
    assert [figure["section"] for figure in figures] == ["messages", "aead", "aead"]
    assert all(figure["ours"] > 0 for figure in figures)


def living_processes() -> dict[int, int]:
    """Return every process that has not ended, and its parent."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ends while we look
            state, parent, *_ = status.read_text().rpartition(")")[2].split()
            if state not in "ZX":
                found[int(status.parent.name)] = int(parent)
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_ends_end_when_the_command_is_killed() -> None:
    command = [sys.executable, "-m", "librats", "bench", "messages", "--scale", "100"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:

        def ends() -> list[int]:
            return [child for child, parent in living_processes().items() if parent == process.pid]

        try:
            wait_until(lambda: len(ends()) == 2)
            started_ones = ends()
        finally:
            process.kill()
    wait_until(lambda: living_processes().keys().isdisjoint(started_ones))


@pytest.mark.parametrize("singly", [False, True])
def test_the_pipeline_hands_over_every_message(singly: bool) -> None:
    assert pipeline_rate(10_000, singly=singly).value > 0


def test_an_end_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(MeasuringFailed, match="no_such_thing"):
        run_both(end_command(f"{HERE}.messages:no_such_thing", {}), [])


def test_a_process_that_ends_badly_is_told() -> None:
    program = "import sys; print('{}', flush=True); sys.exit('no more')"
    with pytest.raises(MeasuringFailed, match="status 1: no more"), started([sys.executable, "-c", program]) as process:
        assert told_by(process) == {}


def test_a_process_does_not_outlive_its_block() -> None:
    program = "import time; print('{}', flush=True); time.sleep(600)"
    with contextlib.suppress(ZeroDivisionError), started([sys.executable, "-c", program]) as process:
        told_by(process)
        raise ZeroDivisionError
    assert process.poll() is not None
