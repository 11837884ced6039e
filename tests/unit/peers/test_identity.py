"""Identities: their keys, their file, and who may use a data directory."""

from __future__ import annotations

import copy
import errno
import logging
import os
import pickle
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from nacl.encoding import RawEncoder
from nacl.exceptions import BadSignatureError
from nacl.hash import generichash
from nacl.signing import VerifyKey

from librats.errors import IdentityError, UsageError
from librats.peers import Identity, IdentityLock
from librats.peers import identity as module
from librats.peers.keeping import private_files

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file modes")
KEY = bytes(range(32))
WAIT = 60  # seconds after which a child process counts as stuck


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def write_key(folder: Path, key: bytes = KEY, mode: int = 0o600) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "identity.key"
    path.write_bytes(key)
    path.chmod(mode)
    return path


def start_child(script: str, *args: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, args)],
        env={**os.environ, "SKBUILD_EDITABLE_VERBOSE": "0"},  # a rebuild on import says so on standard output
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def failing(number: int) -> Callable[..., NoReturn]:
    """Return a stand-in for a system call that fails with that error."""

    def fail(*_: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the code paths of Windows, with its locks played by a set of inodes."""
    held: set[int] = set()

    def locking(descriptor: int, mode: int, size: int) -> None:
        inode = os.fstat(descriptor).st_ino
        if inode in held:
            raise PermissionError(errno.EACCES, "Permission denied")
        held.add(inode)

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(module, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2), raising=False)
    for imported in (module, private_files):
        monkeypatch.delattr(imported, "fcntl", raising=False)
    monkeypatch.delattr(os, "geteuid", raising=False)


class TestKeys:
    @pytest.mark.vectors("librats2/peer_ids")
    def test_the_peer_id_is_the_one_that_a_cpp_node_has(self, case: dict[str, str], folder: Path) -> None:
        key = bytes.fromhex(case["identity_key_file"])
        write_key(folder, key)
        for identity in (Identity.from_private_key(key), Identity.load(folder)):
            assert identity.public_key.hex() == case["public_key"]
            assert identity.peer_id == case["peer_id"]
            assert repr(identity) == str(identity) == f"<Identity {case['short']}>"

    def test_an_unclamped_key_is_the_same_identity_as_the_clamped_one(self) -> None:
        identity = Identity.from_private_key(b"\xff" * 32)
        assert identity.private_key == b"\xf8" + b"\xff" * 30 + b"\x7f"
        again = Identity.from_private_key(identity.private_key)
        assert (again.peer_id, again.verify_key) == (identity.peer_id, identity.verify_key)

    def test_the_signing_key_is_derived_as_the_docstring_says(self) -> None:
        identity = Identity.from_private_key(KEY)
        context = b"librats Ed25519 signing key, version 1"
        assert context.decode() in " ".join((Identity.__doc__ or "").split())
        seed = generichash(context, digest_size=32, key=identity.private_key, encoder=RawEncoder)
        assert bytes(identity.signing_key) == seed
        assert identity.verify_key.hex() == "ec46bb585e06e8451fe91547d7b6882ecaf84431cebaf0c6811131a861f3426f"

    def test_a_signature_verifies_and_a_changed_text_does_not(self) -> None:
        identity = Identity.generate()
        signature = identity.sign(b"a record")
        assert VerifyKey(identity.verify_key).verify(b"a record", signature) == b"a record"
        with pytest.raises(BadSignatureError):
            VerifyKey(identity.verify_key).verify(b"another!", signature)

    def test_generated_identities_differ_and_are_clamped(self) -> None:
        identities = [Identity.generate() for _ in range(50)]
        assert len({identity.peer_id for identity in identities}) == 50
        for identity in identities:
            assert identity == Identity.from_private_key(identity.private_key)
            assert (identity.private_key[0] & 7, identity.private_key[31] & 0xC0) == (0, 0x40)

    @pytest.mark.parametrize("key", [b"", KEY[:31], KEY + b"\0", 32, "0" * 32, None])
    def test_what_is_no_private_key_is_refused(self, key: Any) -> None:
        with pytest.raises(UsageError, match="a private key"):
            Identity.from_private_key(key)

    def test_identities_compare_and_hash_by_peer_id(self) -> None:
        one, same, other = Identity.from_private_key(KEY), Identity.from_private_key(KEY), Identity.generate()
        assert one == same
        assert hash(one) == hash(same)
        assert one != other
        assert one != one.peer_id
        assert len({one, same, other}) == 2

    def test_no_key_is_in_any_text_of_an_identity(self) -> None:
        identity = Identity.generate()
        seed = bytes(identity.signing_key)
        texts = [repr(identity), str(identity), f"{identity}", f"{[identity]!r}"]
        secrets = [s for key in (identity.private_key, seed) for s in (key.hex(), repr(key), str(list(key)))]
        assert not any(secret in text for text in texts for secret in secrets)
        assert not hasattr(identity, "__dict__")

    @pytest.mark.parametrize("carry", [pickle.dumps, copy.copy, copy.deepcopy])
    def test_an_identity_is_neither_pickled_nor_copied(self, carry: Callable[[object], object]) -> None:
        with pytest.raises(TypeError, match="private key"):
            carry(Identity.generate())


class TestFile:
    def test_a_new_identity_is_there_the_next_time(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        identity = Identity.load_or_create(folder)
        assert Identity.load_or_create(folder) == Identity.load(folder) == identity
        assert [path.name for path in folder.iterdir()] == ["identity.key"]
        assert (folder / "identity.key").read_bytes() == identity.private_key
        assert identity.peer_id[:8] in caplog.text
        assert identity.peer_id[:9] not in caplog.text
        assert identity.private_key.hex() not in caplog.text

    @POSIX
    @pytest.mark.parametrize("mask", [0, 0o022, 0o077, 0o277, 0o777])
    def test_modes_do_not_depend_on_the_umask(self, tmp_path: Path, mask: int) -> None:
        folder = tmp_path / "a" / "b" / "data"
        with umask(mask):
            Identity.load_or_create(folder)
        assert mode_of(folder / "identity.key") == 0o600
        assert {mode_of(path) for path in (folder, folder.parent, folder.parent.parent)} == {0o700}

    @POSIX
    def test_a_directory_that_is_there_keeps_its_mode(self, folder: Path) -> None:
        folder.mkdir()
        folder.chmod(0o755)
        Identity.load_or_create(str(folder))
        assert mode_of(folder) == 0o755

    def test_a_directory_without_a_key_is_told_and_stays_as_it_is(self, folder: Path) -> None:
        with pytest.raises(IdentityError, match=r"no identity in .*data"):
            Identity.load(folder)
        assert not folder.exists()

    def test_saving_twice_is_fine_and_another_identity_is_never_overwritten(self, folder: Path) -> None:
        one, other = Identity.generate(), Identity.generate()
        one.save(folder)
        one.save(folder)
        with pytest.raises(IdentityError, match=f"keeps another identity, {one.peer_id[:8]};"):
            other.save(folder)
        assert Identity.load(folder) == one
        assert len(list(folder.iterdir())) == 1

    @pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 64, 100_000])
    def test_a_damaged_key_is_refused_and_kept(self, folder: Path, size: int) -> None:
        path = write_key(folder, bytes(size))
        found = "32 zeros" if size == 32 else f"{size} bytes"
        for use in (Identity.load, Identity.load_or_create, Identity.generate().save):
            with pytest.raises(IdentityError, match=rf"identity.key is damaged: .* this file has {found};"):
                use(folder)
        assert path.read_bytes() == bytes(size)

    @POSIX
    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o666, 0o610, 0o777])
    def test_a_key_open_to_others_is_refused_with_what_mends_it(self, tmp_path: Path, mode: int) -> None:
        path = write_key(tmp_path / "my data", mode=mode)
        with pytest.raises(IdentityError, match=rf"has mode {mode:04o}: .*: chmod 600 '{path}'$") as caught:
            Identity.load_or_create(path.parent)
        subprocess.run(shlex.split(str(caught.value).rpartition(": ")[2]), check=True)
        assert Identity.load(path.parent) == Identity.from_private_key(KEY)

    @POSIX
    @pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777, 0o775])
    def test_a_directory_that_others_can_write_is_refused(self, folder: Path, mode: int) -> None:
        folder.mkdir()
        folder.chmod(mode)
        for use in (Identity.load, Identity.load_or_create, Identity.generate().save, IdentityLock.acquire):
            with pytest.raises(IdentityError, match=rf"has mode {mode:04o}: .*: chmod go-w {folder}$"):
                use(folder)
        assert list(folder.iterdir()) == []

    @POSIX
    @pytest.mark.parametrize("what", ["data", "identity.key"])
    def test_another_users_is_refused(self, folder: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
        write_key(folder)
        owner = os.geteuid()
        users = iter([12345] if what == "data" else [owner, 12345])  # who we are when directory and key are checked
        monkeypatch.setattr(os, "geteuid", lambda: next(users))
        with pytest.raises(IdentityError, match=rf"{what} belongs to user {owner}, .*: chown 12345 .*{what}$"):
            Identity.load_or_create(folder)

    @POSIX
    @pytest.mark.parametrize("target", ["elsewhere.key", "missing.key"])
    def test_a_link_is_refused(self, folder: Path, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
        write_key(folder).rename(folder / "elsewhere.key")
        (folder / "identity.key").symlink_to(folder / target)
        for use in (Identity.load, Identity.load_or_create, Identity.generate().save):
            with pytest.raises(IdentityError, match="symbolic link"):
                use(folder)
        monkeypatch.setattr(Path, "is_symlink", lambda path: False)  # it was put there after the look
        with pytest.raises(IdentityError, match="cannot read"):
            Identity.load_or_create(folder)
        assert not (folder / "missing.key").exists()

    @POSIX
    @pytest.mark.parametrize("kind", ["directory", "fifo"])
    def test_what_is_not_a_regular_file_is_refused_without_waiting(self, folder: Path, kind: str) -> None:
        folder.mkdir(mode=0o700)
        path = folder / "identity.key"
        path.mkdir(0o700) if kind == "directory" else os.mkfifo(path, 0o600)
        with pytest.raises(IdentityError, match=r"identity\.key: not a regular file"):
            Identity.load_or_create(folder)

    def test_a_key_that_cannot_be_read_is_told(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_key(folder)
        monkeypatch.setattr(os, "open", failing(errno.EACCES))
        with pytest.raises(IdentityError, match=r"cannot read .*identity\.key: Permission denied"):
            Identity.load_or_create(folder)

    @pytest.mark.parametrize("below", ["", "deeper/still"])
    def test_a_file_in_place_of_the_directory_is_told(self, tmp_path: Path, below: str) -> None:
        (tmp_path / "file").write_bytes(b"")
        for use in (Identity.load, Identity.load_or_create, IdentityLock.acquire):
            with pytest.raises(IdentityError, match=r"(?i)not a directory"):
                use(tmp_path / "file" / below)

    def test_a_full_disk_is_told_and_leaves_nothing(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.mkdir(mode=0o700)
        monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
        with pytest.raises(IdentityError, match=r"cannot write .*: No space left on device"):
            Identity.load_or_create(folder)
        assert list(folder.iterdir()) == []

    @POSIX
    def test_key_and_name_are_synced_in_that_order(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[tuple[bool, bool, int]] = []
        path = folder / "identity.key"

        def record(descriptor: int) -> None:
            status = os.fstat(descriptor)
            calls.append((stat.S_ISDIR(status.st_mode), path.exists(), status.st_size))

        folder.mkdir(mode=0o700)
        monkeypatch.setattr(os, "fsync", record)
        Identity.load_or_create(folder)
        assert calls == [(False, False, 32), (True, True, folder.stat().st_size)]

    @POSIX
    @pytest.mark.parametrize("where", ["fsync", "link"])
    def test_a_crash_while_writing_is_harmless(self, folder: Path, where: str) -> None:
        script = f"""
import os, sys
from librats.peers import Identity
os.mkdir(sys.argv[1], 0o700)
os.{where} = lambda *_: os._exit(9)
Identity.load_or_create(sys.argv[1])
"""
        child = start_child(script, folder)
        child.communicate(timeout=WAIT)
        assert child.returncode == 9
        (leftover,) = folder.iterdir()
        assert leftover.name.endswith(".tmp")
        assert mode_of(leftover) == 0o600
        with pytest.raises(IdentityError, match="no identity"):
            Identity.load(folder)
        assert Identity.load_or_create(folder) == Identity.load(folder)
        assert leftover.exists()

    @pytest.mark.parametrize("links", [True, False])
    def test_eight_processes_at_once_get_one_identity(self, tmp_path: Path, links: bool) -> None:
        script = """
import errno, os, sys
from librats.peers import Identity
def refuse(*_):
    raise OSError(errno.EPERM, "no hard links")
if sys.argv[1] == "False":
    os.link = refuse
print("ready", flush=True)
for line in sys.stdin:
    print(Identity.load_or_create(line.rstrip()).peer_id, flush=True)
"""
        with ExitStack() as children:
            pipes = []
            for _ in range(8):
                child = children.enter_context(start_child(script, links))
                assert child.stdin is not None
                assert child.stdout is not None
                pipes.append((child.stdin, child.stdout))
            assert [output.readline() for _, output in pipes] == ["ready\n"] * 8
            for turn in range(20):
                folder = tmp_path / f"turn {turn}" / "data"
                for commands, _ in pipes:
                    commands.write(f"{folder}\n")
                    commands.flush()
                answers = {output.readline().strip() for _, output in pipes}
                assert answers == {Identity.load(folder).peer_id}
                assert [path.name for path in folder.iterdir()] == ["identity.key"]

    def test_on_windows_modes_are_not_checked_and_nothing_fails(self, folder: Path, windows: None) -> None:
        identity = Identity.load_or_create(folder)
        (folder / "identity.key").chmod(0o666)
        folder.chmod(0o777)
        assert Identity.load_or_create(folder) == identity
        assert Identity.import_from(folder, folder.parent / "other") == identity


class TestImport:
    @POSIX
    @pytest.mark.parametrize("mode", [0o600, 0o644])
    def test_a_cpp_key_is_taken_over(self, tmp_path: Path, mode: int, caplog: pytest.LogCaptureFixture) -> None:
        source, target = tmp_path / "cpp", tmp_path / "ours"
        path = write_key(source, mode=mode)
        source.chmod(0o777)
        identity = Identity.import_from(source, target)
        assert identity == Identity.from_private_key(KEY) == Identity.load(target)
        assert path.read_bytes() == KEY
        assert (mode_of(target), mode_of(target / "identity.key")) == (0o700, 0o600)
        assert len(caplog.records) == (mode != 0o600)
        assert (f"{path} (mode 0644)" in caplog.text) == (mode != 0o600)
        assert identity.private_key.hex() not in caplog.text
        assert Identity.import_from(source, target) == identity

    def test_another_identity_is_not_replaced(self, tmp_path: Path) -> None:
        write_key(tmp_path / "cpp")
        ours = Identity.load_or_create(tmp_path / "ours")
        with pytest.raises(IdentityError, match="keeps another identity"):
            Identity.import_from(tmp_path / "cpp", tmp_path / "ours")
        assert Identity.load(tmp_path / "ours") == ours

    @pytest.mark.parametrize("size", [None, 0, 31, 33])
    def test_a_source_without_a_usable_key_is_refused(self, tmp_path: Path, size: int | None) -> None:
        if size is not None:
            write_key(tmp_path / "cpp", b"k" * size)
        with pytest.raises(IdentityError, match="no identity" if size is None else "damaged"):
            Identity.import_from(tmp_path / "cpp", tmp_path / "ours")
        assert not (tmp_path / "ours").exists()


class TestLock:
    def test_a_second_taker_here_is_refused(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        lock = IdentityLock.acquire(folder)
        for name in (folder, folder / ".." / folder.name):
            with pytest.raises(IdentityError, match=rf"in use by another client \(process {os.getpid()}\)"):
                IdentityLock.acquire(name)
        lock.release()
        lock.release()
        assert not lock.is_held
        with IdentityLock.acquire(folder) as again:
            lock.release()
            assert again.is_held
            monkeypatch.setattr(module, "_try_lock", lambda descriptor: True)  # as on some network file systems
            with pytest.raises(IdentityError, match="in use"):
                IdentityLock.acquire(folder)
        assert not again.is_held

    def test_another_process_is_refused_and_its_death_releases(self, folder: Path) -> None:
        script = """
import sys
from librats.peers import IdentityLock
lock = IdentityLock.acquire(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""
        with start_child(script, folder) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "held\n"
            with pytest.raises(IdentityError, match=rf"{folder.name} is in use .* \(process {child.pid}\)"):
                IdentityLock.acquire(folder)
            child.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
            child.wait(WAIT)
            IdentityLock.acquire(folder).release()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_a_forked_child_neither_keeps_the_lock_nor_ends_it(self, folder: Path) -> None:
        script = """
import os, sys
from librats.errors import IdentityError
from librats.peers import IdentityLock
def refused():
    try:
        IdentityLock.acquire(sys.argv[1]).release()
    except IdentityError:
        return True
    return False
lock = IdentityLock.acquire(sys.argv[1])
ready, go = os.pipe(), os.pipe()
if os.fork() == 0:
    os.write(ready[1], b"x")
    os.read(go[0], 1)
    os._exit(lock.is_held)
os.read(ready[0], 1)
assert refused()
lock.release()
assert not refused()
os.write(go[1], b"x")
assert os.wait()[1] == 0
print("fine")
"""
        child = start_child(script, folder)
        assert child.communicate(timeout=WAIT)[0] == "fine\n"

    @POSIX
    def test_no_descriptor_is_left_behind(self, folder: Path) -> None:
        before = list(Path("/dev/fd").iterdir())
        Identity.load_or_create(folder)
        with IdentityLock.acquire(folder), pytest.raises(IdentityError, match="in use"):
            IdentityLock.acquire(folder)
        assert len(list(Path("/dev/fd").iterdir())) == len(before)

    @POSIX
    def test_the_lock_makes_a_private_directory_and_file(self, folder: Path) -> None:
        with umask(0), IdentityLock.acquire(folder):
            assert mode_of(folder) == 0o700
            assert mode_of(folder / "lock") == 0o600

    @POSIX
    def test_a_link_in_place_of_the_lock_file_is_refused(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        (folder / "lock").symlink_to(folder.parent / "target")
        with pytest.raises(IdentityError, match="cannot lock"):
            IdentityLock.acquire(folder)
        assert not (folder.parent / "target").exists()

    @POSIX
    def test_a_file_system_without_locks_is_told(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", failing(errno.ENOLCK))
        with pytest.raises(IdentityError, match=r"cannot lock .*: No locks available"):
            IdentityLock.acquire(folder)

    def test_the_windows_way_refuses_a_second_taker_too(self, folder: Path, windows: None) -> None:
        with IdentityLock.acquire(folder):
            module._held.clear()  # so that only the system's lock is in the way
            with pytest.raises(IdentityError, match=rf"in use .* \(process {os.getpid()}\)"):
                IdentityLock.acquire(folder)
