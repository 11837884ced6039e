"""Ten minutes of libFuzzer on the readers of bencode and KRPC, from the conformance vectors on."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import read_set

ROOT = Path(__file__).parents[2]
SECONDS = 600
HAS_ATHERIS = importlib.util.find_spec("atheris") is not None


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.skipif(not HAS_ATHERIS, reason="atheris has wheels for Linux only")
def test_nothing_but_the_documented_errors_escapes_for_ten_minutes(tmp_path: Path) -> None:
    corpus, finds = tmp_path / "corpus", tmp_path / "finds"
    corpus.mkdir()
    finds.mkdir()
    for name in ("bencode/valid", "bencode/invalid", "dht/krpc_messages", "dht/krpc_malformed"):
        for case in read_set(name)["cases"]:
            (corpus / case["id"]).write_bytes(bytes.fromhex(case["raw"]))
    options = [f"-max_total_time={SECONDS}", "-timeout=5", "-rss_limit_mb=512", f"-artifact_prefix={finds}/"]
    command = [sys.executable, "-m", "tests.fuzz.bencode_target", *options, "-max_len=2048", "-print_final_stats=1"]
    done = subprocess.run([*command, str(corpus)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert not list(finds.iterdir())
    executed = next(line for line in done.stderr.splitlines() if "number_of_executed_units" in line)
    assert int(executed.split()[-1]) > 10_000
