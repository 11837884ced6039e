"""What a source is asked for while what has come waits to be stored."""

from __future__ import annotations

from librats.transfer.file_table import FileTable, OfferedFile
from librats.transfer.file_verifiers import FileVerifiers
from librats.transfer.layout import Layout, Range
from librats.transfer.manifest import Manifest
from librats.transfer.pacing import RateLimit, Window
from librats.transfer.receiving import FIRST_WINDOW, Receiving

SIZE = 64 << 20
CHUNK = 1 << 20
WINDOW = 16 << 20


def receiving() -> Receiving:
    """Return what takes one file, of which nothing is there, from one source."""
    files = FileTable([OfferedFile(path=("big",), size=SIZE, root=bytes(32))])
    layout = Layout(Manifest(name="big", is_folder=False, files=files))
    verifiers = FileVerifiers(files, copies={}, whole=bytearray(1))
    machine = Receiving(layout, verifiers, RateLimit(None), 0.0, chunk=CHUNK, window=WINDOW)
    machine.add_source("ann", 0.0)
    return machine


def test_a_source_is_asked_for_its_window_at_first() -> None:
    machine = receiving()
    assert len(machine.next_wants("ann", 0.0)) == FIRST_WINDOW // CHUNK
    assert machine.ahead == FIRST_WINDOW


def test_nothing_more_is_asked_for_while_as_much_waits_to_be_stored() -> None:
    machine = receiving()
    asked = machine.next_wants("ann", 0.0)
    for number, wanted in enumerate(asked):
        assert machine.arrived("ann", wanted, 0.001 * number)
        assert machine.next_wants("ann", 0.001 * number) == []
    assert (machine.backlog, machine.ahead) == (FIRST_WINDOW, FIRST_WINDOW)
    machine.stored(asked[0], 1.0)
    assert machine.next_wants("ann", 1.0) == [(len(asked) * 16, 16)]


def test_a_disk_that_is_slower_than_the_source_keeps_the_window_small() -> None:
    machine = receiving()
    asked, now = machine.next_wants("ann", 0.0), 0.0
    most = 0
    waiting: list[Range] = []
    while not machine.is_complete:
        for wanted in asked:
            machine.arrived("ann", wanted, now)
            waiting.append(wanted)
        now += 0.1
        machine.stored(waiting.pop(0), now)
        asked = machine.next_wants("ann", now)
        most = max(most, machine.ahead)
    assert most == FIRST_WINDOW


def test_a_long_way_makes_the_window_grow_to_its_bound() -> None:
    machine = receiving()
    asked, now = machine.next_wants("ann", 0.0), 0.0
    most = 0
    while not machine.is_complete:
        now += 0.1  # a round trip, after which all that was asked for is there, and is stored at once
        more: list[Range] = []
        for wanted in asked:
            machine.arrived("ann", wanted, now)
            machine.stored(wanted, now)
            more += machine.next_wants("ann", now)
            most = max(most, machine.ahead)
        asked = more
    assert most == WINDOW
    assert now < 1.0  # 4, 8 and 16 MiB in a round trip


def grown(*, answer: float, rate: float, start: int = FIRST_WINDOW) -> int:
    """Return the window of a source that begins to send so many seconds after it is asked, and then at a rate."""
    window, now = Window(start, WINDOW), answer
    window.answered(answer)
    for _ in range(400):
        window.arrived(CHUNK, now, was_full=True)
        now += max(CHUNK / rate, answer * CHUNK / window.size)  # what is asked for is there an answer later
    return window.size


def test_a_short_way_leaves_the_window_as_it_is_however_the_rate_changes() -> None:
    assert grown(answer=0.002, rate=500e6) == FIRST_WINDOW
    window, now = Window(FIRST_WINDOW, WINDOW), 0.0
    window.answered(0.002)
    for number in range(400):  # ever faster, as on a machine that has been busy
        now += 0.01 / (1 + number / 200)
        window.arrived(CHUNK, now, was_full=True)
        assert window.size == FIRST_WINDOW


def test_a_long_way_has_a_window_that_fills_it() -> None:
    assert grown(answer=0.1, rate=125e6) >= 0.1 * 125e6


def test_a_window_from_a_long_way_is_halved_on_a_short_one() -> None:
    window, now = Window(FIRST_WINDOW, WINDOW), 0.0
    window.answered(0.1)
    for _ in range(100):
        now += 0.1 * CHUNK / window.size
        window.arrived(CHUNK, now, was_full=True)
    assert window.size == WINDOW
    window.answered(0.001)
    for _ in range(100):
        now += CHUNK / 500e6
        window.arrived(CHUNK, now, was_full=True)
    assert window.size == FIRST_WINDOW


def test_a_source_is_measured_by_its_answer_where_it_had_nothing_to_do() -> None:
    machine, now = receiving(), 0.0
    for _ in range(SIZE // WINDOW):  # the first byte comes soon, all of a window late: no more would make it faster
        asked = machine.next_wants("ann", now)
        assert len(asked) == FIRST_WINDOW // CHUNK
        machine.heard("ann", now + 0.001)
        for wanted in asked:
            now += 0.1
            machine.arrived("ann", wanted, now)
        for wanted in asked:
            machine.stored(wanted, now)
