"""Ten minutes of libFuzzer on the STUN codec, from the conformance vectors on."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import read_set

from librats._core import stun
from librats.stun.constants import Attribute

ROOT = Path(__file__).parents[2]
SECONDS = 600
HAS_ATHERIS = importlib.util.find_spec("atheris") is not None


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.skipif(not HAS_ATHERIS, reason="atheris has wheels for Linux only")
def test_nothing_but_stun_error_escapes_for_ten_minutes(tmp_path: Path) -> None:
    corpus, finds = tmp_path / "corpus", tmp_path / "finds"
    corpus.mkdir()
    finds.mkdir()
    for name in ("messages_standard", "messages_generated", "messages_malformed"):
        for case in read_set(f"stun/{name}")["cases"]:
            (corpus / case["id"]).write_bytes(bytes.fromhex(case["raw"]))
    for case in read_set("stun/channel_data")["cases"]:
        (corpus / case["id"]).write_bytes(bytes.fromhex(case.get("udp", case.get("stream", ""))))
    for kind in Attribute:
        body = kind.to_bytes(2) + b"\0\x08\0\1\1\0\0\0\0\0"
        (corpus / kind.name).write_bytes(b"\0\1\0\x0c" + stun.MAGIC_COOKIE.to_bytes(4) + bytes(12) + body)
    options = [f"-max_total_time={SECONDS}", "-timeout=5", "-rss_limit_mb=512", f"-artifact_prefix={finds}/"]
    command = [sys.executable, "-m", "tests.fuzz.stun_target", *options, "-max_len=2048", "-print_final_stats=1"]
    done = subprocess.run([*command, str(corpus)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert not list(finds.iterdir())
    executed = next(line for line in done.stderr.splitlines() if "number_of_executed_units" in line)
    assert int(executed.split()[-1]) > 10_000
