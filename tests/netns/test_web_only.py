"""Networks that let only the web out, TCP to port 443 or an HTTP proxy and nothing else: commands as users run them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.netns.lab import SERVER, Lab, end, missing
from tests.netns.test_introducers import LIBRATS, Scene, running
from tests.reference.certificates import make_certificate

WHY_NOT = missing()
pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT), pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
PROXY = SERVER[1], 3128
NOTHING_BUT_THE_PROXY = f"""table ip only {{
 chain through {{
  type filter hook forward priority 5
  iifname "lan" ip daddr != {PROXY[0]} drop
  iifname "lan" tcp dport != {PROXY[1]} drop
  iifname "lan" meta l4proto != tcp drop
 }}
}}
"""


class WebScene:
    """Two hosts that know a relay by its WebSocket.

    Args:
        met: The hosts, and the relay.
        options: What the commands are told besides.
    """

    def __init__(self, met: Scene, *options: str) -> None:
        self.met = met
        self._options = options

    @contextlib.contextmanager
    def node(self, box: str) -> Iterator[str]:
        words = [*self.met.words(box, "node", "--echo"), *self._options]
        with running(self.met.lab, box, words) as ready:
            yield ready["peer_id"]

    def connect(self, box: str, peer_id: str, *options: str) -> list[dict[str, Any]]:
        return self.met.connect(box, peer_id, *self._options, *options)


@contextlib.contextmanager
def scene(folder: Path, monkeypatch: pytest.MonkeyPatch, *nats: str, relay: tuple[str, ...]) -> Iterator[Scene]:
    """Run a relay with TLS at port 443."""
    certificate = make_certificate(folder, SERVER[0])
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    for name in ("https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    words = [str(LIBRATS), "relay", "--json", "--listen", f"{SERVER[0]}:3478", "--data-dir", str(folder / "relay")]
    words += ["--tls", f"{SERVER[0]}:443", "--certificate", str(certificate), "--allow-peer", "203.0.113.0/24", *relay]
    with Lab(*nats) as lab, running(lab, "server", words) as ready:
        yield Scene(lab, f"wss://{ready['peer_id']}@{SERVER[0]}", folder)


@contextlib.contextmanager
def proxy(lab: Lab) -> Iterator[str]:
    """Run an HTTP proxy beside the relay, and yield its URI."""
    program = [sys.executable, "-m", "tests.reference.http_proxy", f"{PROXY[0]}:{PROXY[1]}", "ann:p@ss"]
    with lab.enter("server"):
        process = subprocess.Popen(program, stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield f"http://ann:p%40ss@{PROXY[0]}:{PROXY[1]}"
    finally:
        end(process)
        if process.stdout is not None:
            process.stdout.close()


def test_two_whom_only_tcp_443_lets_out_meet_by_wss_and_reach_each_other_by_turn_over_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = ("--turn", f"turn:ann:secret@{SERVER[0]}:443?transport=tls")
    with scene(tmp_path, monkeypatch, "tcp443_only", "tcp443_only", relay=("--user", "ann:secret")) as met:
        web = WebScene(met, *turn)
        with web.node("host") as peer_id:
            result, reply = web.connect("host2", peer_id, "--strategy", "relay")
    assert result["success"], result
    assert result["method"] == "relay"
    assert reply["data"] == "hello"


def test_one_whom_only_an_http_proxy_lets_out_meets_and_reaches_another_through_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scene(tmp_path, monkeypatch, "port_restricted", "udp_blocked", relay=("--relay-for-introduced",)) as met:
        met.lab.add_rules("2r1", NOTHING_BUT_THE_PROXY)
        plain = met._replace(introducer=f"{met.introducer[6:]}:3478")
        with plain.node("host") as peer_id, proxy(met.lab) as uri:
            result, reply = WebScene(met, "--proxy", uri).connect("host2", peer_id)
    assert result["success"], result
    assert result["method"] in ("carried", "relay")
    assert reply["data"] == "hello"
