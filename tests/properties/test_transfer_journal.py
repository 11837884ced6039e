"""The journal of a transfer: whatever is in the file, what it tells was written by somebody."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from librats.services.disk.folders import open_folder
from librats.services.disk.journal import ON_DISK, RECORD_SIZE, Journal, Record

ID = bytes(range(32))
NUMBERS = st.integers(0, 0xFFFFFFFF)
COUNTS = st.integers(0, ON_DISK - 1)
RECORDS = st.lists(st.builds(Record, NUMBERS, NUMBERS, COUNTS, NUMBERS | st.none()), max_size=12)
HEAD = 64


def read_back(raw: bytes, most: int = 1000) -> list[Record]:
    with tempfile.TemporaryDirectory() as name:
        Path(name, "state").write_bytes(raw)
        folder = open_folder(Path(name))
        try:
            return list(Journal(folder, ID).read(most).records)
        finally:
            folder.close()


def written(first: list[Record], *later: list[Record]) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        folder = open_folder(Path(name))
        journal = Journal(folder, ID)
        journal.begin(first)
        for records in later:
            journal.add(records)
        journal.close()
        folder.close()
        return Path(name, "state").read_bytes()


@settings(max_examples=40, deadline=None)
@given(RECORDS, st.lists(RECORDS, max_size=3))
def test_what_was_noted_is_read(first: list[Record], later: list[list[Record]]) -> None:
    whole = [*first, *(record for records in later for record in records)]
    raw = written(first, *later)
    assert read_back(raw) == whole
    assert read_back(raw, 3) == whole[:3]


@settings(max_examples=60, deadline=None)
@given(RECORDS, st.data())
def test_what_was_cut_off_or_damaged_is_read_up_to_there(records: list[Record], data: st.DataObject) -> None:
    raw = written(records)
    end = data.draw(st.integers(0, len(raw)))
    assert read_back(raw[:end]) == records[: max(0, (end - HEAD) // RECORD_SIZE)]
    at = data.draw(st.integers(0, len(raw) - 1))
    damaged = bytearray(raw)
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    is_boot = 48 <= at < HEAD  # any boot will do: the data is compared then
    good = len(records) if is_boot else 0 if at < HEAD else (at - HEAD) // RECORD_SIZE
    assert read_back(bytes(damaged)) == records[:good]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_anything_can_be_read(raw: bytes) -> None:
    assert read_back(raw) == []
