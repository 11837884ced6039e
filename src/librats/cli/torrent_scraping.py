"""``librats torrent scrape``: how many peers a torrent has, as its trackers count them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from librats.cli.output import Output, plain

if TYPE_CHECKING:
    from librats.torrents import Magnet, Torrent, TrackerCounts

__all__ = ["SCRAPE_TIMEOUT", "scrape"]

SCRAPE_TIMEOUT = 10.0


async def scrape(source: Torrent | Magnet, timeout: float, output: Output) -> int:
    """Ask the trackers of a torrent, and tell what each of them says; return the exit status.

    Raises:
        UsageError: The torrent names no tracker.
    """
    from librats.torrents import TorrentClient  # noqa: PLC0415 - only where it is used

    told = await TorrentClient().scrape(source, timeout=timeout)
    text = "\n".join(["seeds  leechers  downloaded  tracker", *map(_line, told)])
    output.tell(text, name=source.name, trackers=[_facts(tracker) for tracker in told])
    if all(tracker.error for tracker in told):
        output.hint("no tracker has told how many peers there are")
        return 1
    return 0


def _line(told: TrackerCounts) -> str:
    if told.error:
        return f"{'-':>5}  {'-':>8}  {'-':>10}  {plain(told.tracker)}: {plain(told.error)}"
    return f"{told.seeds:>5}  {told.leechers:>8}  {told.downloaded:>10}  {plain(told.tracker)}"


def _facts(told: TrackerCounts) -> dict[str, Any]:
    return {
        "tracker": told.tracker,
        "seeds": told.seeds,
        "leechers": told.leechers,
        "downloaded": told.downloaded,
        "downloaders": told.downloaders,
        "min_interval": told.min_interval,
        "error": told.error or None,
    }
