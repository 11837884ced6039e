"""A big stream between two processes: librats, encrypted, beside a bare asyncio TCP connection."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

ENDS = Path(__file__).with_name("stream_ends.py")
SIZE = 1_000_000_000
PAIRS = 3


def one_transfer(kind: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, str(ENDS), kind, str(SIZE)]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout is not None
        port = receiver.stdout.readline().strip()
        sent = subprocess.run([*command, port, *options], stdout=subprocess.PIPE, text=True, check=True, timeout=300)
        assert receiver.wait(timeout=30) == 0
    result: dict[str, Any] = json.loads(sent.stdout)
    return result


def bench_1_gb_stream_beside_plain_tcp(benchmark: BenchmarkFixture) -> None:
    pairs: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def one_pair() -> None:
        pairs.append((one_transfer("librats"), one_transfer("plain")))

    benchmark.pedantic(one_pair, rounds=PAIRS, warmup_rounds=1)
    ratio = statistics.median(plain["seconds"] / ours["seconds"] for ours, plain in pairs[1:])
    rate = statistics.median(SIZE / ours["seconds"] for ours, _ in pairs[1:]) / 1e6
    benchmark.extra_info["ratio_to_plain_tcp"] = ratio
    benchmark.extra_info["megabytes_per_second"] = rate
    print(f"\nstream: {rate:,.0f} MB/s encrypted, {ratio:.2f} times a bare asyncio connection")


def bench_1_gb_stream_hashed_at_both_ends(benchmark: BenchmarkFixture) -> None:
    results: list[dict[str, Any]] = []
    benchmark.pedantic(lambda: results.append(one_transfer("librats", "--hash")), rounds=PAIRS, warmup_rounds=1)
    rate = statistics.median(SIZE / result["seconds"] for result in results[1:]) / 1e6
    benchmark.extra_info["megabytes_per_second"] = rate
    memory = max(result["receiver_mib"] for result in results)
    growth = max(result["sender_growth_mib"] for result in results)
    print(f"\nhashed stream: {rate:,.0f} MB/s; receiver at most {memory:.0f} MiB, sender grew by {growth:.0f} MiB")
