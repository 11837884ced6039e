"""Ten minutes of libFuzzer on uTP, from the packets of streams on."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.ten_minutes import MARKS, fuzz
from tests.simulation.joined_tables import FILLER, World

from librats._core.utp import UtpTable

pytestmark = MARKS


def test_nothing_is_raised_and_what_is_kept_is_bounded_for_ten_minutes(tmp_path: Path) -> None:
    inputs: dict[str, bytes] = {}
    world = World("fuzz")
    client, server = (world.end(host, kind=UtpTable) for host in ("10.0.1.0", "10.0.0.1"))
    client.keeps_sent = server.keeps_sent = True
    world.join(client, server, delay=0.01, loss=0.1)
    stream = client.dial(server)
    world.run(0.2)
    stream.write(FILLER[:3000])
    stream.finish()
    client.wake()
    world.run(1)
    for number, (_, data) in enumerate((*client.sent, *server.sent)):
        inputs[str(number)] = bytes([min(len(data), 255)]) + data[:255]
    assert fuzz("utp_target", inputs, tmp_path, longest=1024, patience=20) > 100
