"""Ten minutes of libFuzzer on notices and letters of introductions."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.introduce.test_notices import BODIES

from librats.introduce.letters import Letter

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
    for op, notice in BODIES.items():
        body = notice.encode()
        (corpus / op.name).write_bytes(len(body).to_bytes(2) + body)
    letter = Letter(id="00" * 16, time=1, ice={"ufrag": "abcd"}, candidates=["candidate:1"], rtt_ms=1.0)
    (corpus / "letter").write_bytes(letter.encode())
    options = [f"-max_total_time={SECONDS}", "-timeout=5", "-rss_limit_mb=512", f"-artifact_prefix={finds}/"]
    command = [sys.executable, "-m", "tests.fuzz.introduce_target", *options, "-max_len=1024", "-print_final_stats=1"]
    done = subprocess.run([*command, str(corpus)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert not list(finds.iterdir())
    executed = next(line for line in done.stderr.splitlines() if "number_of_executed_units" in line)
    assert int(executed.split()[-1]) > 100
