"""Ten minutes of libFuzzer on the STUN codec, from the conformance vectors on."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import read_set
from tests.fuzz.ten_minutes import MARKS, fuzz

from librats._core import stun
from librats.stun.constants import Attribute

pytestmark = MARKS


def test_nothing_but_stun_error_escapes_for_ten_minutes(tmp_path: Path) -> None:
    inputs: dict[str, bytes] = {}
    for name in ("messages_standard", "messages_generated", "messages_malformed"):
        for case in read_set(f"stun/{name}")["cases"]:
            inputs[case["id"]] = bytes.fromhex(case["raw"])
    for case in read_set("stun/channel_data")["cases"]:
        inputs[case["id"]] = bytes.fromhex(case.get("udp", case.get("stream", "")))
    for kind in Attribute:
        body = kind.to_bytes(2) + b"\0\x08\0\1\1\0\0\0\0\0"
        inputs[kind.name] = b"\0\1\0\x0c" + stun.MAGIC_COOKIE.to_bytes(4) + bytes(12) + body
    assert fuzz("stun_target", inputs, tmp_path, longest=2048) > 10_000
