"""What a source is asked for while what has come waits to be stored."""

from __future__ import annotations

from librats.transfer.file_table import FileTable, OfferedFile
from librats.transfer.file_verifiers import FileVerifiers
from librats.transfer.layout import Layout, Range
from librats.transfer.manifest import Manifest
from librats.transfer.pacing import RateLimit
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
