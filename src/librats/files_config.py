"""How files are taken and given: a part of a client's configuration."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from librats.checks import require, require_one_of, require_positive

__all__ = ["FilesConfig", "OfferPolicy"]

KIB = 1024
MIB = 1024 * KIB
LEAF = 64 * KIB
MAX_CHUNK = 4 * MIB


class OfferPolicy(StrEnum):
    """What becomes of the offers of peers."""

    ASK = "ask"
    """The application's :meth:`on_offer` handler decides."""

    NEVER = "never"
    """All are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesConfig:
    """Limits and timing of the transfer of files. Nothing of it is loaded before ``client.files`` is used.

    Example:
        >>> FilesConfig(max_rate=2_000_000, parallel=1).accept
        <OfferPolicy.ASK: 'ask'>
    """

    folder: str | None = None
    """Where accepted offers are put where ``accept`` names no folder; None: it has to name one."""

    accept: OfferPolicy = OfferPolicy.ASK
    """Whether the application is asked about offers, ``"ask"``, or all are refused, ``"never"``."""

    max_files: int = 100_000
    """Files of one offer, either way; as many folders."""

    max_bytes: int = 1 << 44
    """Bytes of one offer, either way: 16 TiB."""

    hidden: bool = False
    """Whether offers are taken whose name begins with a dot. In a home folder programs heed such files: what is called
    ``.ssh`` would be added to what is there, and what is in it may let others in."""

    max_disk: int | None = None
    """Bytes that one transfer may take on the disk; None for what is free."""

    max_rate: float | None = None
    """Bytes per second that all transfers together receive, and that they send; None for no limit."""

    chunk: int = 1 * MIB
    """Bytes that are asked for, checked and written as one."""

    window: int = 16 * MIB
    """Bytes of one transfer that are asked for ahead at most, what waits to be written among them."""

    parallel: int = 4
    """Transfers that are received at once; others wait."""

    max_serving: int = 64
    """Transfers that are given at once; who asks for one more is refused."""

    max_offers_per_peer: int = 4
    """Offers of one peer that may wait for an answer."""

    offer_timeout: float = 300.0
    """Seconds that an offer waits for the application's answer."""

    resume_timeout: float = 120.0
    """Seconds that a transfer waits for a peer whose session has ended; it goes on by itself when that is back."""

    stall_timeout: float = 60.0
    """Seconds without a byte after which a source is given up. A session that is dead counts as lost before that, with
    the default of ``SessionConfig.idle_timeout``, and is waited for."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ConfigError: One of them has a value that cannot be used.
        """
        require(self.folder is None or isinstance(self.folder, str), "folder", "must be text or None")
        require_one_of(self, "accept", OfferPolicy)
        require(isinstance(self.hidden, bool), "hidden", "must be True or False")
        require_positive(self, "max_files", "max_bytes", "chunk", "window", "parallel", "max_serving")
        require_positive(self, "max_offers_per_peer", "offer_timeout", "resume_timeout", "stall_timeout")
        for name in ("max_rate", "max_disk"):
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            require(
                value is None or (is_number and value > 0), name, f"must be a number above 0 or None, not {value!r}"
            )
        require(LEAF <= self.chunk <= MAX_CHUNK, "chunk", f"is from {LEAF} to {MAX_CHUNK}")
        require(self.window >= self.chunk, "window", "is at least chunk")
