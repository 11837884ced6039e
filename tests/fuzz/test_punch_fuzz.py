"""Ten minutes of libFuzzer on librats 2's Punch messages, and on what is made of them."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.ten_minutes import MARKS, fuzz
from tests.unit.session.test_librats2_punch import MESSAGES

pytestmark = MARKS


def test_nothing_but_documented_errors_escapes_for_ten_minutes(tmp_path: Path) -> None:
    inputs: dict[str, bytes] = {}
    payloads = [bytes.fromhex(message["payload"]) for message in MESSAGES]
    for number, payload in enumerate(payloads):
        inputs[str(number)] = bytes([len(payload)]) + payload
    inputs["all"] = b"".join(bytes([len(payload)]) + payload for payload in payloads)
    assert fuzz("punch_target", inputs, tmp_path, longest=4096) > 100
