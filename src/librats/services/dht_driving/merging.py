"""What several nodes of one host have done, said and kept, taken together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from librats.dht.node_ids import ID_SIZE
from librats.errors import DhtError, OperationTimeout

__all__ = ["merged", "saved_ids", "saved_nodes", "together"]

SHARED = ("hashes", "items")

Result = TypeVar("Result")


def merged(outcomes: Sequence[Result | BaseException]) -> list[Result]:
    """Return what has come of something in those places where it worked.

    Args:
        outcomes: A result or an error of each.

    Raises:
        BaseException: The first error, where it worked nowhere, or one that has nothing to do with the place.

    Example:
        >>> from librats import DhtError
        >>> merged([DhtError("nobody answers"), 7])
        [7]
    """
    errors = [each for each in outcomes if isinstance(each, BaseException)]
    grave = [error for error in errors if not isinstance(error, DhtError | OperationTimeout)]
    results = [each for each in outcomes if not isinstance(each, BaseException)]
    if grave or (errors and not results):
        raise (grave or errors)[0]
    return results


def together(each: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the sums of numbers, of what is shared the number itself, and whether anything that may hold does.

    Args:
        each: The statistics of each node.

    Example:
        >>> together([{"reachable": False, "nodes": 3, "items": 5}, {"reachable": True, "nodes": 4, "items": 5}])
        {'reachable': True, 'nodes': 7, 'items': 5}
    """
    sums: dict[str, Any] = {}
    for statistics in each:
        for name, value in statistics.items():
            if isinstance(value, bool):
                sums[name] = sums.get(name, False) or value
            elif isinstance(value, int):
                sums[name] = value if name in SHARED else sums.get(name, 0) + value
    return sums


def saved_ids(saved: Mapping[Any, Any]) -> dict[str, bytes]:
    """Return the ids that were saved for addresses; of two that have the same one, the second is left out.

    Args:
        saved: What was read, whatever has become of it.

    Example:
        >>> saved_ids({"addresses": {"192.0.2.7": b"i" * 20, "192.0.2.8": b"i" * 20, "192.0.2.9": 7}})
        {'192.0.2.7': b'iiiiiiiiiiiiiiiiiiii'}
    """
    ids = saved.get("addresses")
    found: dict[str, bytes] = {}
    for host, own_id in ids.items() if isinstance(ids, dict) else ():
        is_id = isinstance(own_id, bytes) and len(own_id) == ID_SIZE
        if isinstance(host, str) and is_id and own_id not in found.values():
            found[host] = own_id
    return found


def saved_nodes(saved: Mapping[Any, Any]) -> list[bytes]:
    """Return the nodes that were saved: id and compact address of each.

    Args:
        saved: What was read, whatever has become of it.
    """
    nodes = saved.get("nodes")
    return [node for node in nodes if isinstance(node, bytes)] if isinstance(nodes, list) else []
