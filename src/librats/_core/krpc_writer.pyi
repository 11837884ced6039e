from collections.abc import Iterable

def query(
    method: int,
    transaction_id: bytes,
    id: bytes,
    *,
    target: bytes | None = None,
    info_hash: bytes | None = None,
    token: bytes | None = None,
    port: int | None = None,
    implied_port: bool = False,
    want: Iterable[bytes] | None = None,
    seed: bool = False,
    noseed: bool = False,
    scrape: bool = False,
    item: bytes | None = None,
    key: bytes | None = None,
    signature: bytes | None = None,
    sequence: int | None = None,
    salt: bytes | None = None,
    compare: int | None = None,
    read_only: bool = False,
    version: bytes | None = None,
) -> bytes: ...
def response(
    transaction_id: bytes,
    id: bytes,
    *,
    nodes: bytes | None = None,
    nodes6: bytes | None = None,
    token: bytes | None = None,
    values: Iterable[bytes] | None = None,
    item: bytes | None = None,
    key: bytes | None = None,
    signature: bytes | None = None,
    sequence: int | None = None,
    samples: bytes | None = None,
    number: int | None = None,
    interval: int | None = None,
    seeds_filter: bytes | None = None,
    peers_filter: bytes | None = None,
    seen_as: bytes | None = None,
    version: bytes | None = None,
) -> bytes: ...
def error(
    transaction_id: bytes, code: int, reason: bytes, *, seen_as: bytes | None = None, version: bytes | None = None
) -> bytes: ...
