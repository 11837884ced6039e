"""Ten minutes of libFuzzer on the streams over datagrams, from the packets of sessions on."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.ten_minutes import MARKS, fuzz
from tests.simulation.joined_tables import FILLER, World

pytestmark = MARKS


def test_nothing_is_raised_and_nothing_agreed_is_changed_for_ten_minutes(tmp_path: Path) -> None:
    inputs: dict[str, bytes] = {}
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
            inputs[f"{index}-{number}"] = bytes([min(len(data), 255)]) + data[:255]
    assert fuzz("rudp_target", inputs, tmp_path, longest=1024, patience=20) > 100
