"""The nodes of the DHT on the disk: read again, damaged, newer, and killed while they are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.peers.stopping import leftovers, stops
from tests.unit.peers.test_killed import POSIX

from librats.dht.addresses import compact
from librats.dht.tables import Tables
from librats.peers.keeping.dht_nodes_file import MAX_ADDRESSES, MAX_NODES, DhtNodesFile
from librats.services.dht_driving.merging import saved_ids

ID = b"i" * 20
NODES = [b"a" * 20 + compact("192.0.2.7", 6881), b"b" * 20 + compact("2001:db8::7", 25401)]
SAVED: dict[str, object] = {"id": ID, "nodes": NODES}
HEAD = {"format": "librats-dht-nodes", "version": 1}


async def write(folder: Path, saved: dict[str, object] | None) -> None:
    file = DhtNodesFile(folder)
    file.load()
    file.start(lambda: saved)
    file.changed()
    await file.close()


async def test_it_lasts_over_a_restart(tmp_path: Path) -> None:
    assert DhtNodesFile(tmp_path).load() is None
    await write(tmp_path, SAVED)
    assert DhtNodesFile(tmp_path).load() == SAVED
    assert Tables.load(DhtNodesFile(tmp_path).load()) == ({6: ID}, [(node[:20], node[20:]) for node in NODES])
    document = json.loads((tmp_path / "dht.nodes").read_text())
    assert document["nodes"][0] == {"id": "61" * 20, "address": "192.0.2.7:6881"}


async def test_the_id_at_addresses_of_ipv6_lasts_as_well(tmp_path: Path) -> None:
    saved = {**SAVED, "id6": b"6" * 20}
    await write(tmp_path, saved)
    assert DhtNodesFile(tmp_path).load() == saved
    assert Tables.load(saved)[0] == {6: ID, 18: b"6" * 20}


async def test_where_there_is_nothing_to_write_the_file_stays_as_it_was(tmp_path: Path) -> None:
    await write(tmp_path, SAVED)
    before = (tmp_path / "dht.nodes").stat()
    await write(tmp_path, None)
    assert (tmp_path / "dht.nodes").stat().st_ino == before.st_ino


async def test_what_has_not_changed_is_not_written_again(tmp_path: Path) -> None:
    file = DhtNodesFile(tmp_path)
    file._save(SAVED)
    before = (tmp_path / "dht.nodes").stat().st_ino
    file._save(dict(SAVED))
    assert (tmp_path / "dht.nodes").stat().st_ino == before
    file._save({**SAVED, "nodes": NODES[:1]})
    assert (tmp_path / "dht.nodes").stat().st_ino != before


async def test_members_that_are_not_known_stay(tmp_path: Path) -> None:
    (tmp_path / "dht.nodes").write_text(json.dumps({**HEAD, "id": ID.hex(), "nodes": [], "later": [1]}))
    await write(tmp_path, SAVED)
    assert json.loads((tmp_path / "dht.nodes").read_text())["later"] == [1]


@pytest.mark.parametrize(
    ("text", "is_set_aside"),
    [
        ("{", True),
        ("", True),
        (json.dumps({**HEAD, "version": 99}), False),
        (json.dumps({**HEAD, "id": ID.hex(), "nodes": 7}), True),
        (json.dumps({**HEAD, "id": "x" * 40, "nodes": []}), True),
        (json.dumps({**HEAD, "id": ID.hex(), "nodes": [{"id": "61" * 20, "address": "a name:1"}]}), True),
        (json.dumps({**HEAD, "id": ID.hex(), "nodes": [{"id": "61" * 20, "address": "192.0.2.7"}, 1, None]}), True),
    ],
)
async def test_a_file_that_is_damaged_is_set_aside_and_a_newer_one_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, is_set_aside: bool
) -> None:
    path = tmp_path / "dht.nodes"
    path.write_text(text)
    loaded = DhtNodesFile(tmp_path).load()
    assert loaded is None or loaded["nodes"] == []
    assert "dht.nodes" in caplog.text
    assert (tmp_path / "dht.nodes.damaged").exists() is is_set_aside
    path.write_text(text)
    await write(tmp_path, SAVED)
    assert (path.read_text() == text) is not is_set_aside
    if is_set_aside:
        assert DhtNodesFile(tmp_path).load() == SAVED


async def test_what_is_sound_of_a_damaged_file_is_used(tmp_path: Path) -> None:
    sound = {"id": "61" * 20, "address": "192.0.2.7:6881"}
    (tmp_path / "dht.nodes").write_text(json.dumps({**HEAD, "id": ID.hex(), "nodes": [sound, {"id": "61"}]}))
    assert DhtNodesFile(tmp_path).load() == {"id": ID, "nodes": NODES[:1]}
    many = {**HEAD, "id": ID.hex(), "nodes": [sound] * (MAX_NODES + 1)}
    (tmp_path / "dht.nodes").write_text(json.dumps(many))
    loaded = DhtNodesFile(tmp_path).load()
    assert loaded is not None
    assert loaded["nodes"] == NODES[:1] * MAX_NODES


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=45),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "address", "x"]), inner),
    max_leaves=8,
)


OWN_IDS = st.dictionaries(
    st.one_of(st.ip_addresses().map(str), st.text(max_size=40)), st.binary(min_size=20, max_size=20), max_size=20
)


@given(own_ids=OWN_IDS)
def test_our_id_at_each_address_lasts_over_a_restart(
    tmp_path_factory: pytest.TempPathFactory, own_ids: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("nodes")
    DhtNodesFile(folder)._save({**SAVED, "addresses": own_ids})
    loaded = DhtNodesFile(folder).load()
    assert loaded == (SAVED | ({"addresses": own_ids} if own_ids else {}))
    ids = saved_ids(loaded)
    assert ids.items() <= own_ids.items()
    assert sorted(ids.values()) == sorted(set(own_ids.values()))


async def test_our_ids_at_addresses_stay_while_there_is_but_one_node(tmp_path: Path) -> None:
    several = {**SAVED, "addresses": {"192.0.2.7": b"7" * 20}}
    await write(tmp_path, several)
    await write(tmp_path, SAVED)
    assert DhtNodesFile(tmp_path).load() == several


async def test_of_damaged_ids_at_addresses_those_are_used_that_are_sound(tmp_path: Path) -> None:
    ids = {"192.0.2.7": "37" * 20, "192.0.2.8": "37", "192.0.2.9": 7, "192.0.2.10": None}
    (tmp_path / "dht.nodes").write_text(json.dumps({**HEAD, "id": ID.hex(), "nodes": [], "addresses": ids}))
    assert DhtNodesFile(tmp_path).load() == {"id": ID, "nodes": [], "addresses": {"192.0.2.7": b"7" * 20}}
    assert (tmp_path / "dht.nodes.damaged").exists()


@given(members=st.dictionaries(st.sampled_from(["id", "nodes", "addresses", "other"]), JSON))
def test_arbitrary_members_raise_nothing(tmp_path_factory: pytest.TempPathFactory, members: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("nodes")
    (folder / "dht.nodes").write_text(json.dumps({**HEAD, **members}))
    loaded = DhtNodesFile(folder).load()
    assert loaded is not None
    Tables.load(loaded)
    assert len(set(saved_ids(loaded).values())) == len(saved_ids(loaded))


SAVING = """
from pathlib import Path
from librats.peers.keeping.dht_nodes_file import DhtNodesFile

folder = Path(sys.argv[1])
old = {"id": b"i" * 20, "nodes": [b"a" * 20 + bytes([192, 0, 2, 7, 26, 225])]}
new = {"id": b"i" * 20, "nodes": [bytes([n]) * 20 + bytes([192, 0, 2, n, 26, 225]) for n in range(200)]}

def before():
    DhtNodesFile(folder)._save(old)

def act():
    DhtNodesFile(folder)._save(new)

def check():
    assert DhtNodesFile(folder).load() in (old, new)
    assert not list(folder.glob("*.damaged*"))
"""


@POSIX
def test_who_is_killed_at_any_step_of_saving_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
    assert stops(SAVING, tmp_path) >= 10
    assert leftovers(tmp_path) == []


async def test_no_more_of_our_ids_at_addresses_are_read_than_the_limit(tmp_path: Path) -> None:
    ids = {f"192.0.{number // 256}.{number % 256}": "37" * 20 for number in range(MAX_ADDRESSES + 1)}
    (tmp_path / "dht.nodes").write_text(json.dumps({**HEAD, "id": ID.hex(), "nodes": [], "addresses": ids}))
    loaded = DhtNodesFile(tmp_path).load()
    assert loaded is not None
    found = loaded["addresses"]
    assert isinstance(found, dict)
    assert list(found) == list(ids)[:MAX_ADDRESSES]
