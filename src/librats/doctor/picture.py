"""The report as a picture: this host, what stands in between, and the ways to peers (SVG 1.1)."""

from __future__ import annotations

from html import escape

from librats.doctor.outlook import PeerOutlook, PeerWay
from librats.doctor.report import NetworkReport
from librats.doctor.wording import WAY_WORDS
from librats.types import NatType

__all__ = ["picture_of"]

WIDTH = 960
TOP, ROW = 150, 46
NARROW, WIDE, HALF = 150, 210, 38
COLUMNS = {"host": 90, "nat": 330, "net": 560}
PEER_X = 660

COLOURS = {
    PeerWay.DIRECT: "#1a7f37",
    PeerWay.PREDICTED: "#5a8f00",
    PeerWay.CHANCE: "#b07d00",
    PeerWay.TCP: "#0a66c2",
    PeerWay.RELAY: "#c0392b",
}


def picture_of(report: NetworkReport) -> str:
    """Return the picture as the text of an SVG file.

    Example:
        >>> from librats.doctor.seen import NetworkSeen
        >>> from librats.types import NatTypeInfo
        >>> report = NetworkReport.on(NetworkSeen(ipv4=NatTypeInfo(), ipv6=NatTypeInfo()))
        >>> picture_of(report).startswith("<svg")
        True
    """
    seen = report.seen
    height = TOP + ROW * max(len(report.outlooks), 3) + 30 + 22 * len(report.findings)
    middle = TOP + ROW * max(len(report.outlooks) - 1, 2) / 2
    hosts = [address for each in seen.interfaces if each.kind == "ordinary" for address in each.addresses][:3]
    public = seen.ipv4.public_address
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="13" role="img" aria-labelledby="title">',
        '<title id="title">The network of this host, and how peers are reached</title>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        '<text x="30" y="40" font-size="20" font-weight="bold">The network of this host</text>',
        f'<text x="30" y="64" fill="#555555">{escape(_summary(report))}</text>',
        _line(COLUMNS["host"], middle, COLUMNS["nat"], middle, "#888888"),
        _line(COLUMNS["nat"], middle, COLUMNS["net"], middle, "#888888"),
        *(_way(outlook, TOP + ROW * number, middle) for number, outlook in enumerate(report.outlooks)),
        _box(COLUMNS["host"] + 15, middle, NARROW, "#eef3fb", "this host", hosts),
        _box(COLUMNS["nat"], middle, WIDE, "#fff4e0", *_between(report)),
        _box(COLUMNS["net"], middle, NARROW, "#f2f2f2", "internet", [] if public is None else [public.host]),
    ]
    below = TOP + ROW * max(len(report.outlooks), 3) + 10
    for number, finding in enumerate(report.findings):
        colour = {"good": "#1a7f37", "note": "#555555", "warning": "#b07d00"}.get(finding.severity.value, "#c0392b")
        parts.append(f'<text x="30" y="{below + 22 * number}" fill="{colour}">{escape(finding.what)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _summary(report: NetworkReport) -> str:
    info = report.seen.ipv4
    return f"IPv4: {info.type.value.replace('-', ' ')}; IPv6: {report.seen.ipv6.type.value.replace('-', ' ')}"


def _between(report: NetworkReport) -> tuple[str, list[str]]:
    info = report.seen.ipv4
    if info.type is NatType.OPEN_INTERNET:
        return "nothing in between", []
    told = [f"mapping {info.mapping.value}", f"filtering {info.filtering.value}"]
    if report.seen.mapping is not None:
        told.append(f"ports mapped by {report.seen.mapping.protocol.value}")
    title = "firewall" if info.type is NatType.FIREWALL else "UDP blocked" if info.type is NatType.BLOCKED else "NAT"
    return title, [] if info.type is NatType.BLOCKED else told


def _line(x: float, y: float, to_x: float, to_y: float, colour: str, dashes: str = "") -> str:
    style = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<line x1="{x}" y1="{y}" x2="{to_x}" y2="{to_y}" stroke="{colour}" stroke-width="2"{style}/>'


def _box(x: float, y: float, width: int, fill: str, title: str, lines: list[str]) -> str:
    rows = [f'<text x="{x}" y="{y - 14}" text-anchor="middle" font-weight="bold">{escape(title)}</text>']
    rows += [
        f'<text x="{x}" y="{y + 4 + 14 * number}" text-anchor="middle" font-size="10">{escape(line)}</text>'
        for number, line in enumerate(lines)
    ]
    frame = (
        f'<rect x="{x - width / 2}" y="{y - HALF}" width="{width}" height="{2 * HALF}" rx="8" fill="{fill}" '
        'stroke="#444444"/>'
    )
    return "\n".join([frame, *rows])


def _way(outlook: PeerOutlook, y: float, middle: float) -> str:
    colour = COLOURS[outlook.way]
    dashes = {PeerWay.RELAY: "2 5", PeerWay.CHANCE: "8 4", PeerWay.PREDICTED: "12 3"}.get(outlook.way, "")
    words = f"{outlook.peer}: {WAY_WORDS[outlook.way]}"
    return "\n".join(
        [
            _line(COLUMNS["net"], middle, PEER_X, y, colour, dashes),
            f'<circle cx="{PEER_X}" cy="{y}" r="5" fill="{colour}"/>',
            f'<text x="{PEER_X + 12}" y="{y + 4}" fill="{colour}" font-size="11">{escape(words)}</text>',
        ]
    )
