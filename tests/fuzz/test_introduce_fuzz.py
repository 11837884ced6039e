"""Ten minutes of libFuzzer on notices and letters of introductions."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.ten_minutes import MARKS, fuzz
from tests.unit.introduce.test_notices import BODIES

from librats.introduce.letters import Letter

pytestmark = MARKS


def test_nothing_but_documented_errors_escapes_for_ten_minutes(tmp_path: Path) -> None:
    inputs: dict[str, bytes] = {}
    for op, notice in BODIES.items():
        body = notice.encode()
        inputs[op.name] = len(body).to_bytes(2) + body
    letter = Letter(id="00" * 16, time=1, ice={"ufrag": "abcd"}, candidates=["candidate:1"], rtt_ms=1.0)
    inputs["letter"] = letter.encode()
    assert fuzz("introduce_target", inputs, tmp_path, longest=1024) > 100
