"""Ten minutes of libFuzzer on the streams over datagrams, from the packets of sessions on."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from tests.simulation.joined_tables import FILLER, World

ROOT = Path(__file__).parents[2]
SECONDS = 600
HAS_ATHERIS = importlib.util.find_spec("atheris") is not None


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.skipif(not HAS_ATHERIS, reason="atheris has wheels for Linux only")
def test_nothing_is_raised_and_nothing_agreed_is_changed_for_ten_minutes(tmp_path: Path) -> None:
    corpus, finds = tmp_path / "corpus", tmp_path / "finds"
    corpus.mkdir()
    finds.mkdir()
    world = World("fuzz corpus")
    for index, extended in enumerate((True, False)):
        client, server = world.end(f"10.0.1.{index}", extended=extended), world.end(f"10.0.0.{index}")
        client.keeps_sent = server.keeps_sent = True
        world.join(client, server, delay=0.01, loss=0.1)
        stream = client.dial(server)
        world.run(0.2)
        stream.write(FILLER[:2000])
        stream.send_datagram(b"datagram")
        stream.finish()
        client.wake()
        world.run(1)
        for number, (_, data) in enumerate((*client.sent, *server.sent)):
            (corpus / f"{index}-{number}").write_bytes(bytes([min(len(data), 255)]) + data[:255])
    options = [f"-max_total_time={SECONDS}", "-timeout=20", "-rss_limit_mb=512", f"-artifact_prefix={finds}/"]
    command = [sys.executable, "-m", "tests.fuzz.rudp_target", *options, "-max_len=1024", "-print_final_stats=1"]
    done = subprocess.run([*command, str(corpus)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert not list(finds.iterdir())
