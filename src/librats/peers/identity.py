"""The key that makes a node the peer it is, and the data directory that keeps it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import secrets
import shlex
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn, Self, SupportsIndex

from nacl.signing import SigningKey

from librats.errors import IdentityError, UsageError
from librats.noise import KEY_SIZE, public_key
from librats.peers.keeping.private_files import FOLLOWING, SAFELY, make_missing, read_regular, replace, write_new

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["Identity", "IdentityLock", "default_data_dir"]

logger = logging.getLogger("librats.peers")

DirectoryName = str | os.PathLike[str]

_KEY_FILE = "identity.key"
_SIGNING_CONTEXT = b"librats Ed25519 signing key, version 1"

_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def default_data_dir() -> Path:
    """Return the directory where a node keeps its identity unless it is told another.

    It is the value of the environment variable ``LIBRATS_DATA_DIR`` where that is set, else the platform's
    place for a user's data: ``~/.local/share/librats`` on Linux.
    """
    chosen = os.environ.get("LIBRATS_DATA_DIR")
    if chosen:
        return Path(os.path.expanduser(chosen))  # noqa: PTH111 - Path's own raises where there is no such home
    import platformdirs  # noqa: PLC0415 - brings much with it, and whoever names a directory does without

    return Path(platformdirs.user_data_dir("librats", appauthor=False))


class Identity:
    """A node's keys, and the peer id that follows from them.

    The X25519 private key is everything; the rest is computed from it. The signing key is an Ed25519 key pair
    (RFC 8032) whose 32-byte seed is ``BLAKE2b(digest size 32, key = the private key as clamped, message = the
    ASCII text "librats Ed25519 signing key, version 1")``, without salt or personalisation: libsodium's
    ``crypto_generichash``.

    On disk it is the file ``identity.key``, the 32 bytes of the private key and nothing else, as nodes of
    the C++ library keep it. It is written with mode 0600, whole or not at all. A key that others can read or
    could have put there is refused, as is a damaged one, and no key is ever overwritten. Windows has no such
    modes and nothing of them is checked there: the access list of the directory protects the key.

    Two identities are equal if their peer ids are. Neither ``repr`` nor ``pickle`` gives the keys away.

    Args:
        private_key: The X25519 private key, 32 bytes.

    Raises:
        UsageError: It is not 32 bytes.

    Example:
        >>> identity = Identity.from_private_key(bytes(range(32)))
        >>> identity
        <Identity eedd883d>
        >>> len(identity.peer_id), len(identity.sign(b"a record"))
        (64, 64)
    """

    __slots__ = ("_peer_id", "_private_key", "_public_key", "_signing_key", "_verify_key")

    def __init__(self, private_key: bytes) -> None:
        if not isinstance(private_key, bytes | bytearray | memoryview):
            raise UsageError(f"a private key is bytes, not {type(private_key).__name__}")
        if len(private_key) != KEY_SIZE:
            raise UsageError(f"a private key has {KEY_SIZE} bytes, not {len(private_key)}")
        self._private_key = _clamped(bytes(private_key))
        self._public_key = public_key(self._private_key)
        self._peer_id = hashlib.sha256(self._public_key).hexdigest()
        seed = hashlib.blake2b(_SIGNING_CONTEXT, key=self._private_key, digest_size=32).digest()
        self._signing_key = SigningKey(seed)
        self._verify_key = bytes(self._signing_key.verify_key)

    @property
    def private_key(self) -> bytes:
        """The X25519 private key, 32 bytes, clamped (RFC 7748, section 5). A secret."""
        return self._private_key

    @property
    def public_key(self) -> bytes:
        """The X25519 public key, 32 bytes: the Noise static key that peers see."""
        return self._public_key

    @property
    def peer_id(self) -> str:
        """The SHA-256 of the public key in 64 lower-case hexadecimal digits."""
        return self._peer_id

    @property
    def signing_key(self) -> SigningKey:
        """The Ed25519 key pair that signs records. A secret; ``str()`` of it shows its seed."""
        return self._signing_key

    @property
    def verify_key(self) -> bytes:
        """The public half of the signing key, 32 bytes."""
        return self._verify_key

    def sign(self, data: bytes) -> bytes:
        """Return the Ed25519 signature of the data, 64 bytes."""
        return self._signing_key.sign(data).signature

    @classmethod
    def generate(cls) -> Self:
        """Make a new identity from the system's entropy."""
        return cls(secrets.token_bytes(KEY_SIZE))

    @classmethod
    def from_private_key(cls, private_key: bytes) -> Self:
        """Make the identity that belongs to a private key of 32 bytes, clamped or not.

        Raises:
            UsageError: It is not 32 bytes.
        """
        return cls(private_key)

    @classmethod
    def load(cls, directory: DirectoryName) -> Self:
        """Read the identity that a data directory keeps.

        Raises:
            IdentityError: There is none, or it is refused: open to others, somebody else's, or damaged.
        """
        path = Path(directory) / _KEY_FILE
        key = _read_key(path)
        if key is None:
            raise _no_identity(path)
        return cls(key)

    @classmethod
    def load_or_create(cls, directory: DirectoryName) -> Self:
        """Read the identity that a data directory keeps, or make one there.

        However many processes do so at once, all get the same identity.

        Raises:
            IdentityError: It can be neither read nor made.
        """
        folder = Path(directory)
        key = _read_key(folder / _KEY_FILE)
        if key is not None:
            return cls(key)
        identity = cls.generate()
        _make_private(folder)
        try:
            _write_key(folder / _KEY_FILE, identity.private_key)
        except FileExistsError:  # another process was faster
            return cls.load(folder)
        logger.info("made a new identity %s in %s", identity.peer_id[:8], folder)
        return identity

    def save(self, directory: DirectoryName) -> None:
        """Write this identity into a data directory, which is made where it does not exist.

        Raises:
            IdentityError: The directory keeps another identity, which stays, or cannot be written.
        """
        folder = Path(directory)
        _make_private(folder)
        try:
            _write_key(folder / _KEY_FILE, self._private_key)
        except FileExistsError:
            kept = self.load(folder)
            if kept != self:
                raise IdentityError(
                    f"{folder} keeps another identity, {kept.peer_id[:8]}; move its {_KEY_FILE} away first"
                ) from None

    def replace(self, directory: DirectoryName) -> None:
        """Write this identity into a data directory in place of the one that is there, which is lost.

        At every moment the directory keeps one of them, whole. See :meth:`librats.RatsClient.rotate_identity` for a
        change that peers can follow.

        Raises:
            IdentityError: The directory cannot be written.
        """
        folder = Path(directory)
        _make_private(folder)
        with _as_identity_error(f"cannot write {folder / _KEY_FILE}"):
            replace(folder / _KEY_FILE, self._private_key)

    @classmethod
    def import_from(cls, source_directory: DirectoryName, directory: DirectoryName) -> Self:
        """Copy the identity of another data directory, such as a C++ node's, and return it.

        The source may be open to others, as C++ nodes leave it; that is logged as a warning. Do not run both
        nodes at once: they are the same peer.

        Args:
            source_directory: Where the other node keeps its ``identity.key``.
            directory: The data directory that is to keep the copy; made where it does not exist.

        Raises:
            IdentityError: The source has no usable key, or the directory keeps another identity, which stays.
        """
        identity = cls(_read_foreign_key(Path(source_directory) / _KEY_FILE))
        identity.save(directory)
        return identity

    def __repr__(self) -> str:
        """Name the peer, and nothing secret."""
        return f"<Identity {self._peer_id[:8]}>"

    def __eq__(self, other: object) -> bool:
        """Tell whether both are the same peer."""
        return self._peer_id == other.peer_id if isinstance(other, Identity) else NotImplemented

    def __hash__(self) -> int:
        """Hash the peer id."""
        return hash(self._peer_id)

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse: a pickle would carry the private key."""
        raise TypeError("an Identity holds a private key and cannot be pickled or copied; use save and load")


class _InUse(IdentityError):
    in_use = True


class IdentityLock:
    """The right of one client to use a data directory, held until released or until the process ends.

    It is a lock of the operating system on the file ``lock`` in the directory, so a crash leaves nothing that
    must be cleaned up. A child made by ``fork`` does not have it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, IdentityLock.acquire(folder) as lock:
        ...     lock.is_held
        True
    """

    __slots__ = ("_descriptor", "_key")

    def __init__(self, descriptor: int, key: tuple[int, int]) -> None:
        self._descriptor: int | None = descriptor
        self._key = key

    @classmethod
    def acquire(cls, directory: DirectoryName) -> Self:
        """Lock a data directory, which is made where it does not exist. Never waits.

        Raises:
            IdentityError: Another client, of this process or another, uses it, or it cannot be locked.
        """
        folder = Path(directory)
        _make_private(folder)
        with _as_identity_error(f"cannot lock {folder}"), contextlib.ExitStack() as undo:
            descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | SAFELY, 0o600)
            undo.callback(os.close, descriptor)
            status = os.fstat(descriptor)
            key = status.st_dev, status.st_ino
            # Some network file systems lock for a whole process and would let it in twice.
            if key in _held or not _try_lock(descriptor):
                raise _InUse(f"{folder} is in use by another client{_holder(descriptor)}; give this one its own")
            undo.pop_all()
        with contextlib.suppress(OSError):  # a full disk; the number only serves the next one's error message
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
        lock = _held[key] = cls(descriptor, key)
        return lock

    @property
    def is_held(self) -> bool:
        """True until the lock is released."""
        return self._descriptor is not None

    def release(self) -> None:
        """Let others use the directory. A second call does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            _held.pop(self._key, None)
            os.close(descriptor)  # which unlocks

    def __enter__(self) -> Self:
        """Return the lock."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Release the lock."""
        self.release()


_held: dict[tuple[int, int], IdentityLock] = {}


def _forget_locks() -> None:
    for lock in list(_held.values()):
        lock.release()


if hasattr(os, "register_at_fork"):
    # A child that kept its copy of the descriptor open would keep the parent's lock alive.
    os.register_at_fork(after_in_child=_forget_locks)


def _holder(descriptor: int) -> str:
    with contextlib.suppress(OSError):
        text = os.read(descriptor, 20)
        if text.isdigit():
            return f" (process {text.decode()})"
    return ""


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            # Locked bytes cannot be read there: lock one far behind those that name the holder.
            os.lseek(descriptor, 1 << 30, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in {errno.EAGAIN, errno.EACCES}:
            raise
        return False
    finally:
        os.lseek(descriptor, 0, os.SEEK_SET)
    return True


def _clamped(key: bytes) -> bytes:
    return bytes([key[0] & 248]) + key[1:-1] + bytes([key[-1] & 127 | 64])


@contextlib.contextmanager
def _as_identity_error(trouble: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, FileExistsError):
            raise
        raise IdentityError(f"{trouble}: {error.strerror or error}") from error


def _make_private(folder: Path) -> None:
    """Make a directory for its owner alone where there is none, and check the one that is there."""
    if _is_private(folder):
        return
    with _as_identity_error(f"cannot make the directory {folder}"):
        make_missing(folder.absolute())
    _is_private(folder)


def _is_private(folder: Path) -> bool:
    """Check that nobody else can write a data directory; False where there is none."""
    with _as_identity_error(f"cannot use the directory {folder}"):
        try:
            status = folder.stat()
        except FileNotFoundError:
            return False
    if not stat.S_ISDIR(status.st_mode):
        raise IdentityError(f"{folder} is not a directory")
    _check_access(folder, status, _WRITABLE_BY_OTHERS, "others could replace the identity in it", "go-w")
    return True


def _check_access(path: Path, status: os.stat_result, forbidden: int, danger: str, change: str) -> None:
    if sys.platform != "win32":
        user, mode, name = os.geteuid(), stat.S_IMODE(status.st_mode), shlex.quote(str(path))
        if status.st_uid != user:
            raise IdentityError(
                f"{path} belongs to user {status.st_uid}, not to user {user} who runs this; "
                f"mend it with: chown {user} {name}"
            )
        if mode & forbidden:
            raise IdentityError(f"{path} has mode {mode:04o}: {danger}; mend it with: chmod {change} {name}")


def _read_key(path: Path) -> bytes | None:
    """Read a key file that only its owner can have read or written; None where there is none."""
    if not _is_private(path.parent):
        return None
    if path.is_symlink():
        raise IdentityError(f"{path} is a symbolic link; put the key itself there")
    if (found := _read_file(path, SAFELY)) is None:
        return None
    key, status = found
    _check_access(path, status, _OPEN_TO_OTHERS, "who reads it can pose as this peer", "600")
    return _sound_key(path, key, status.st_size)


def _read_foreign_key(path: Path) -> bytes:
    """Read a key file whoever else could read or write it."""
    if (found := _read_file(path, FOLLOWING)) is None:
        raise _no_identity(path)
    key, status = found
    mode = stat.S_IMODE(status.st_mode)
    if sys.platform != "win32" and mode & _OPEN_TO_OTHERS:
        logger.warning("others could use %s (mode %04o); who has a copy can pose as this peer", path, mode)
    return _sound_key(path, key, status.st_size)


def _no_identity(path: Path) -> IdentityError:
    return IdentityError(f"there is no identity in {path.parent}: it has no file {path.name}")


def _read_file(path: Path, flags: int) -> tuple[bytes, os.stat_result] | None:
    """Return what a regular file begins with, and its status; None where there is no file."""
    with _as_identity_error(f"cannot read {path}"):
        return read_regular(path, KEY_SIZE, flags)


def _sound_key(path: Path, key: bytes, size: int) -> bytes:
    # A crash of the machine may leave zeros in a file that was never synced.
    if len(key) == size == KEY_SIZE and any(key):
        return key
    found = f"{KEY_SIZE} zeros" if size == KEY_SIZE else f"{size} bytes"
    raise IdentityError(
        f"{path} is damaged: a key has {KEY_SIZE} random bytes, this file has {found}; bring it back from a "
        "backup, or move it away to become a new peer"
    )


def _write_key(path: Path, key: bytes) -> None:
    """Write a key file, whole or not at all.

    Raises:
        FileExistsError: There is something of that name already.
        IdentityError: It cannot be written.
    """
    with _as_identity_error(f"cannot write {path}"):
        write_new(path, key)
