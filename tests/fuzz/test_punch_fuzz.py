"""Ten minutes of libFuzzer on librats 2's Punch messages, and on what is made of them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.session.test_librats2_punch import MESSAGES

ROOT = Path(__file__).parents[2]
SECONDS = 600
HAS_ATHERIS = importlib.util.find_spec("atheris") is not None


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.skipif(not HAS_ATHERIS, reason="atheris has wheels for Linux only")
def test_nothing_but_documented_errors_escapes_for_ten_minutes(tmp_path: Path) -> None:
    corpus, finds = tmp_path / "corpus", tmp_path / "finds"
    corpus.mkdir()
    finds.mkdir()
    payloads = [bytes.fromhex(message["payload"]) for message in MESSAGES]
    for number, payload in enumerate(payloads):
        (corpus / str(number)).write_bytes(bytes([len(payload)]) + payload)
    (corpus / "all").write_bytes(b"".join(bytes([len(payload)]) + payload for payload in payloads))
    options = [f"-max_total_time={SECONDS}", "-timeout=5", "-rss_limit_mb=512", f"-artifact_prefix={finds}/"]
    command = [sys.executable, "-m", "tests.fuzz.punch_target", *options, "-max_len=4096", "-print_final_stats=1"]
    done = subprocess.run([*command, str(corpus)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert not list(finds.iterdir())
    executed = next(line for line in done.stderr.splitlines() if "number_of_executed_units" in line)
    assert int(executed.split()[-1]) > 100
