"""Ten minutes of libFuzzer on torrent files and magnet links, from the conformance vectors on."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import read_set
from tests.fuzz.ten_minutes import MARKS, fuzz

pytestmark = MARKS

LONGEST = 4096


def test_nothing_but_a_decode_error_escapes_and_files_stay_in_their_folder_for_ten_minutes(tmp_path: Path) -> None:
    inputs: dict[str, bytes] = {}
    for name in ("torrent/created", "torrent/corner_cases"):
        for case in read_set(name)["cases"]:
            raw = bytes.fromhex(case["torrent"])
            if len(raw) <= LONGEST:
                inputs[f"{name[8:]}-{case['id']}"] = raw
    for case in read_set("torrent/magnet")["cases"]:
        inputs[f"magnet-{case['id']}"] = case["uri"].encode()
    assert fuzz("metainfo_target", inputs, tmp_path, longest=LONGEST) > 10_000
