"""Retransmission as RFC 8489, 6.2.1 wants it."""

from __future__ import annotations

from librats.testing.entropy import SeededEntropy
from librats.turn.client_transactions import Transactions


def run_out(transactions: Transactions[str], start: float) -> tuple[list[float], float]:
    """Return when something was sent again, and when it was given up, in seconds from the start."""
    times: list[float] = []
    while (now := transactions.next_time()) is not None:
        again, over = transactions.due(now)
        times += [now - start] * len(again)
        if over:
            return times, now - start
    raise AssertionError("never given up")


def begun(*, reliable: bool, patience: float | None = None) -> Transactions[str]:
    transactions: Transactions[str] = Transactions(SeededEntropy(1), reliable=reliable)
    transactions.begin(transactions.new_id(), "request", b"bytes", 100.0, patience)
    return transactions


def test_over_udp_a_request_is_sent_seven_times() -> None:
    # The example of RFC 8489, 6.2.1, with an initial timeout of 500 ms.
    times, end = run_out(begun(reliable=False), 100.0)
    assert times == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert end == 39.5


def test_over_a_stream_it_is_sent_once() -> None:
    assert run_out(begun(reliable=True), 100.0) == ([], 39.5)


def test_patience_ends_it_earlier() -> None:
    assert run_out(begun(reliable=False, patience=4.0), 100.0) == ([0.5, 1.5, 3.5], 4.0)
    assert run_out(begun(reliable=True, patience=4.0), 100.0) == ([], 4.0)


def test_ids_differ() -> None:
    transactions: Transactions[str] = Transactions(SeededEntropy(1), reliable=False)
    assert len({transactions.new_id() for _ in range(100)}) == 100


def test_an_answered_request_is_forgotten() -> None:
    transactions: Transactions[str] = Transactions(SeededEntropy(1), reliable=False)
    transaction_id = transactions.new_id()
    transactions.begin(transaction_id, "request", b"bytes", 0.0, None)
    assert transactions.find(transaction_id) == "request"
    transactions.end(transaction_id)
    assert transactions.find(transaction_id) is None
    assert transactions.next_time() is None
