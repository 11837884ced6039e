"""Small JSON messages between two processes: librats, encrypted, beside websockets, not encrypted."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

ENDS = Path(__file__).with_name("message_ends.py")
COUNTS = {"librats": 300_000, "websockets": 60_000}
PAIRS = 5


def messages_per_second(library: str) -> float:
    count = COUNTS[library]
    command = [sys.executable, str(ENDS), library, str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout is not None
        port = receiver.stdout.readline().strip()
        sent = subprocess.run([*command, port], stdout=subprocess.PIPE, text=True, check=True, timeout=300)
        assert receiver.wait(timeout=30) == 0
    return count / float(sent.stdout)


def bench_64_byte_json_messages_beside_websockets(benchmark: BenchmarkFixture) -> None:
    pairs: list[tuple[float, float]] = []

    def one_pair() -> None:
        pairs.append((messages_per_second("librats"), messages_per_second("websockets")))

    benchmark.pedantic(one_pair, rounds=PAIRS, warmup_rounds=1)
    ratios = sorted(ours / theirs for ours, theirs in pairs[1:])
    benchmark.extra_info["ratio_to_websockets"] = statistics.median(ratios)
    benchmark.extra_info["librats_messages_per_second"] = statistics.median(ours for ours, _ in pairs[1:])
    print(
        f"\nmessages/s: librats {statistics.median(o for o, _ in pairs[1:]):,.0f}, "
        f"websockets {statistics.median(t for _, t in pairs[1:]):,.0f}; "
        f"ratio {statistics.median(ratios):.1f} (from {ratios[0]:.1f} to {ratios[-1]:.1f})"
    )
