"""Ten minutes of libFuzzer on the readers of bencode and KRPC, from the conformance vectors on."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import read_set
from tests.fuzz.ten_minutes import MARKS, fuzz

pytestmark = MARKS


def test_nothing_but_the_documented_errors_escapes_for_ten_minutes(tmp_path: Path) -> None:
    inputs: dict[str, bytes] = {}
    for name in ("bencode/valid", "bencode/invalid", "dht/krpc_messages", "dht/krpc_malformed"):
        for case in read_set(name)["cases"]:
            inputs[case["id"]] = bytes.fromhex(case["raw"])
    assert fuzz("bencode_target", inputs, tmp_path, longest=2048) > 10_000
