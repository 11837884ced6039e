"""Servers in the laboratory, as programs."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.netns.lab import SERVER, Lab, end

__all__ = ["OTHER_PORT", "PORT", "serve_with_relay", "served_by"]

PORT, OTHER_PORT = 3478, 3479


@contextlib.contextmanager
def serve_with_relay(lab: Lab) -> Iterator[None]:
    arguments = [str(Path(sys.executable).with_name("librats")), "relay", "--user", "ann:secret", "--realm", "lab"]
    arguments += ["--listen", f"{SERVER[0]}:{PORT}", "--alternate", f"{SERVER[1]}:{OTHER_PORT}"]
    with tempfile.TemporaryDirectory() as folder, served_by(lab, [*arguments, "--data-dir", folder]):
        yield


@contextlib.contextmanager
def served_by(lab: Lab, arguments: list[str]) -> Iterator[None]:
    """Run a server's program until the block ends; it has begun to serve when the block begins."""
    with lab.enter("server"):
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with lab.socket("server", SERVER[0]) as probe:
            probe.settimeout(0.1)
            request = bytes.fromhex("000100002112a442") + bytes(12)
            for _ in range(300):
                assert process.poll() is None, f"{arguments[0]} has ended with {process.returncode}"
                probe.sendto(request, (SERVER[0], PORT))
                with contextlib.suppress(TimeoutError, ConnectionError):
                    probe.recv(2048)
                    break
                time.sleep(0.02)
        yield
    finally:
        end(process)
