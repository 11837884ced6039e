"""The plain C programs of this folder: compiled where there is a C compiler, run like any other pair of ends."""

from __future__ import annotations

import ctypes.util
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rivals.c_programs import compiled

from librats.cli.measuring.bulk import WARM_UP, bulk_sample
from librats.cli.measuring.processes import MeasuringFailed, run_both
from librats.cli.measuring.sample import Sample

__all__ = ["SodiumProgram"]


@dataclass(frozen=True, slots=True)
class SodiumProgram:
    """A program, and the libsodium that it uses."""

    program: Path
    transport: str
    """What it sends over: ``"TCP"`` or ``"UDP"``."""

    library: str
    origin: str
    """Whose libsodium that is."""

    packet: int | None = None
    """Bytes of a UDP payload."""

    @classmethod
    def build(cls, transport: str, packet: int | None = None) -> SodiumProgram | None:
        """Compile the program for TCP or UDP; None where there is no C compiler, or no libsodium that it can load."""
        built = compiled(f"{transport.lower()}_sodium", "-rdynamic", "-ldl")
        if built is None:
            return None
        for origin, library in _libraries():
            program = cls(built, transport, library, origin, packet)
            if program.works():
                return program
        return None

    @property
    def name(self) -> str:
        """How the contender is called."""
        packets = f" in {self.packet:,} B" if self.packet else ""
        return f"C, {self.transport}{packets} + libsodium ({self.origin})"

    def works(self) -> bool:
        """Whether the program can use the library."""
        try:
            self.measure(1)
        except MeasuringFailed:
            return False
        return True

    def measure(self, blocks: int) -> Sample:
        """Measure megabytes a second in blocks of 64 KiB, and CPU nanoseconds a byte at both ends together."""
        begin = [str(self.program), self.library, *([str(self.packet)] if self.packet else [])]
        ends = [[*begin, verb, str(blocks), str(WARM_UP)] for verb in ("receive", "send")]
        return bulk_sample(run_both(*ends), blocks)


def _libraries() -> list[tuple[str, str]]:
    """Return the copies of libsodium that may be there, the one that librats itself uses first."""
    import nacl._sodium

    found = [("PyNaCl's", str(nacl._sodium.__file__))]
    system = ctypes.util.find_library("sodium")
    return [*found, ("the system's", system)] if system else found
