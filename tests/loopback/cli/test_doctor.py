"""``librats doctor`` with servers on this machine's loopback."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.reference.stun_server import StunServer

from librats.cli import main

LOOPBACK = "127.0.0.1"
UNIX_EPOCH = 2_208_988_800
SLOW_BY = 300.0
"""Seconds by which the time server is ahead of us."""


def udp_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((LOOPBACK, 0))
    return sock


@pytest.fixture
def stun() -> Iterator[str]:
    sock = udp_socket()
    with StunServer([sock]):
        yield f"{LOOPBACK}:{sock.getsockname()[1]}"


@pytest.fixture
def time_server() -> Iterator[str]:
    """Serve the time (SNTP), of which the second question is answered: the first one is lost."""
    sock = udp_socket()

    def serve() -> None:
        for number in range(1000):
            question, whom = sock.recvfrom(100)
            if question == b"stop":
                return
            now = time.time() + UNIX_EPOCH + SLOW_BY
            stamp = struct.pack("!II", int(now), int(now % 1 * (1 << 32)))
            if number:
                sock.sendto(bytes([0x24, 1]) + bytes(22) + question[40:48] + stamp * 2, whom)

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"{LOOPBACK}:{sock.getsockname()[1]}"
    sock.sendto(b"stop", sock.getsockname())
    thread.join()
    sock.close()


def test_json_is_one_object_and_the_picture_a_file(
    stun: str, time_server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "network.svg"
    status = main(
        ["doctor", "--json", "--stun", stun, "--time-server", time_server, "--no-port-mapping", "--svg", str(picture)]
    )
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    assert status == 0
    assert told["ipv4"]["public_address"].startswith(f"{LOOPBACK}:")
    assert told["clock_offset"] == pytest.approx(SLOW_BY, abs=30)
    assert "clock-off" in [finding["code"] for finding in told["findings"]]
    assert told["mtu"] == 1500
    assert "8 of 8: " in shown.err
    assert "</svg>" in picture.read_text(encoding="utf-8")


def test_text_is_for_people(stun: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--stun", stun, "--no-time", "--no-port-mapping"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("IPv4 ")
    assert "peers behind" in shown
    assert "clock" not in shown


def test_what_does_not_work_at_all_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with udp_socket() as silent:
        server = f"{LOOPBACK}:{silent.getsockname()[1]}"
        assert main(["doctor", "--json", "--stun", server, "--no-time", "--no-port-mapping"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["findings"][0] == {
        "code": "no-answer",
        "severity": "problem",
        "what": told["findings"][0]["what"],
        "remedy": "name others with --stun HOST:PORT",
    }


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--stun", "a b"], 2, "not a server"),
        (["--turn", "http://x"], 2, "turn"),
        (["--time-server", "::::"], 1, "time_server"),
        (["--no-time", "--svg", "/proc/nowhere/x.svg"], 1, "cannot be written"),
    ],
)
def test_mistakes_are_told_in_a_line(
    stun: str, options: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--stun", stun, "--no-port-mapping", *options]) == status
    assert said in capsys.readouterr().err.splitlines()[-1]
