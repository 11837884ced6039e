"""What the doctor says of the HTTP proxy."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.reference.http_proxy import HttpProxy
from tests.reference.socks_proxy import SocksProxy

from librats import NatTraversalConfig, NetworkReport, diagnose

ID = "ab" * 32


async def report_with(proxy: str, *introducers: str) -> NetworkReport:
    return await diagnose(
        NatTraversalConfig(stun_servers=(), enable_port_mapping=False, proxy=proxy, introducers=introducers)
    )


async def port_of_a_server() -> tuple[asyncio.Server, int]:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1")
    return server, server.sockets[0].getsockname()[1]


async def test_a_proxy_that_leads_to_the_introducer_is_told() -> None:
    server, port = await port_of_a_server()
    async with server, HttpProxy() as proxy:
        report = await report_with(proxy.uri, f"wss://{ID}@127.0.0.1:{port}")
    assert report.seen.proxy is not None
    assert report.seen.proxy.gets_through
    assert report.to_json()["proxy"]["target"] == f"127.0.0.1:{port}"
    assert proxy.asked == [f"127.0.0.1:{port}"]


async def test_a_socks_proxy_is_told_as_well() -> None:
    server, port = await port_of_a_server()
    async with server, SocksProxy() as proxy:
        report = await report_with(proxy.uri, f"wss://{ID}@127.0.0.1:{port}")
        assert report.seen.proxy is not None
        assert report.seen.proxy.gets_through
        assert report.seen.proxy.proxy == proxy.uri
        assert proxy.asked == [f"127.0.0.1:{port}"]
    async with SocksProxy(ports=(1,)) as proxy:
        report = await report_with(proxy.uri, f"wss://{ID}@127.0.0.1:443")
    [found] = [finding for finding in report.findings if finding.code == "proxy-fails"]
    assert "its rules do not allow this" in found.what


@pytest.mark.parametrize(
    ("how", "words"),
    [({"credentials": "ann:secret"}, "407"), ({"answer": b"nonsense\r\n"}, "HTTP"), ({"ports": (1,)}, "403")],
)
async def test_a_proxy_that_does_not_is_told_with_the_reason(how: dict[str, Any], words: str) -> None:
    async with HttpProxy(**how) as proxy:
        report = await report_with(proxy.uri, f"wss://{ID}@127.0.0.1:443")
    [found] = [finding for finding in report.findings if finding.code == "proxy-fails"]
    assert words in found.what


async def test_without_a_server_it_is_seen_that_the_proxy_is_there() -> None:
    async with HttpProxy() as proxy:
        report = await report_with(proxy.uri)
        assert [finding.severity for finding in report.findings if finding.code == "proxy"] == ["note"]
        uri = proxy.uri
    report = await report_with(uri)
    assert [finding.code for finding in report.findings if "proxy" in finding.code] == ["proxy-fails"]


async def test_where_there_is_none_nothing_is_said() -> None:
    report = await report_with("off")
    assert report.seen.proxy is None
    assert report.to_json()["proxy"] is None
