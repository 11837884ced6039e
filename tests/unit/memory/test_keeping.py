"""Who a client is: by its data directory, by the user's, or by the network that it is in."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from librats import Identity, IdentityError, UsageError
from librats.memory import keeping
from librats.memory.keeping import KeepingVerbs


class Keeper(KeepingVerbs):
    """A client that has not started."""

    is_running = False


@pytest.fixture(autouse=True)
def users_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIBRATS_DATA_DIR", str(tmp_path / "home"))
    return tmp_path / "home"


def in_a_network_with(key: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "current_network", lambda: SimpleNamespace(own_key=lambda: key))


def test_the_key_of_the_network_is_taken_where_no_directory_is_named_and_nothing_is_written(
    users_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = bytes(range(1, 33))
    in_a_network_with(key, monkeypatch)
    keeper = Keeper(None, None)
    assert keeper.peer_id == Identity(key).peer_id
    in_a_network_with(None, monkeypatch)
    assert keeper.peer_id == Identity(key).peer_id
    assert keeper._load_kept().peer_id == Identity(key).peer_id
    assert not users_directory.exists()
    with pytest.raises(UsageError, match="in use already"):
        keeper._move_data_dir(users_directory)


def test_a_directory_that_is_named_has_the_key_whatever_the_network_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_network_with(bytes(range(1, 33)), monkeypatch)
    keeper = Keeper(tmp_path / "own", None)
    identity = keeper._load_kept()
    keeper._release_identity()
    assert identity.peer_id == Identity.load(tmp_path / "own").peer_id != Identity(bytes(range(1, 33))).peer_id


def test_an_identity_that_is_given_is_taken_and_no_directory_is_made(users_directory: Path) -> None:
    identity = Identity.generate()
    assert Keeper(None, identity)._load_kept() is identity
    assert not users_directory.exists()


def test_a_named_directory_in_use_is_refused_and_the_users_own_gives_an_identity_that_ends(
    users_directory: Path,
) -> None:
    first, second, named = Keeper(None, None), Keeper(None, None), Keeper(users_directory, None)
    first._load_kept()
    with pytest.raises(IdentityError, match="in use"):
        named._load_kept()
    temporary = second._load_kept()
    assert temporary.peer_id != first.peer_id
    assert second._lock is None
    assert second._load_kept() is temporary
    first._release_identity()
    assert second._load_kept() is temporary


def test_a_users_directory_that_cannot_be_used_is_refused_for_another_reason_than_being_in_use(
    users_directory: Path,
) -> None:
    users_directory.write_bytes(b"no directory")
    with pytest.raises(IdentityError) as raised:
        Keeper(None, None)._load_kept()
    assert not raised.value.in_use


def test_the_directory_may_be_moved_until_it_is_used(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "a", None)
    keeper._move_data_dir(tmp_path / "b")
    assert keeper.data_dir == tmp_path / "b"
    keeper._load_kept()
    with pytest.raises(UsageError, match="in use already"):
        keeper._move_data_dir(tmp_path / "c")
    keeper._release_identity()
    keeper._move_data_dir(tmp_path / "c")
    assert keeper._load_kept().peer_id == Identity.load(tmp_path / "c").peer_id
    keeper._release_identity()


def test_what_a_killed_writer_has_left_goes_the_next_time_and_a_configuration_after_an_hour(tmp_path: Path) -> None:
    for name, age in (("identity.key.1.tmp", 0), ("config.json.1.tmp", 3500), ("config.json.2.tmp", 3700)):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    tmp_path.chmod(0o700)
    keeper = Keeper(tmp_path, None)
    keeper._load_kept()
    keeper._release_identity()
    assert [path.name for path in tmp_path.glob("*.tmp")] == ["config.json.1.tmp"]
