"""The gateways of this machine: from what systems print, and from the real one."""

from __future__ import annotations

import ipaddress
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import ifaddr
import pytest

from librats.runtime import gateways
from librats.runtime.gateways import (
    Gateway,
    Route,
    default_gateways,
    linux_routes,
    linux_routes_ipv6,
    netstat_routes,
    windows_routes,
)

LINUX = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\tFE00000A\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t0000000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
tun0\t00000000\t00000000\t0001\t0\t0\t50\t00000000\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
eth0\t00000080\t0201A8C0\t0003\t0\t0\t0\t00000080\t0\t0\t0
lo\t00000000\t0301A8C0\t0203\t0\t0\t0\t00000000\t0\t0\t0
"""
ZEROS = "0" * 32
LINUX_IPV6 = f"""\
{ZEROS} 00 {ZEROS} 00 fe8000000000000000000000000000fe 00000400 00000001 00000000 00450003     eth0
{ZEROS} 00 {ZEROS} 00 20010db8000000000000000000000001 00000064 00000001 00000000 00000003    wlan0
20010db8000100000000000000000000 40 {ZEROS} 00 {ZEROS} 00000100 00000001 00000000 00000001     eth0
{ZEROS} 00 {ZEROS} 00 {ZEROS} ffffffff 00000001 00000000 00200200       lo
"""
MACOS = """\
Routing tables

Internet:
Destination        Gateway            Flags               Netif Expire
default            192.168.1.1        UGScg                 en0
default            link#24            UCSIg           bridge100      !
127                127.0.0.1          UCS                   lo0
192.168.1          link#14            UCS                   en0      !
192.168.1.1/32     link#14            UCS                   en0      !

Internet6:
Destination                             Gateway                                 Flags               Netif Expire
default                                 fe80::1%en0                             UGcg                  en0
default                                 fe80::%utun0                            UGcIg               utun0
::1                                     ::1                                     UHL                   lo0
"""
FREEBSD = """\
Internet:
Destination        Gateway            Flags     Netif Expire
default            10.0.0.1           UGS        em0
"""
OLD_MACOS = """\
Internet:
Destination        Gateway            Flags        Refs      Use   Netif Expire
default            192.168.1.1        UGSc           74        0     en1
"""
WINDOWS = """\
===========================================================================
Liste d'Interfaces
 12...00 1b 21 3a 4f 5e ......Intel(R) Ethernet Connection
===========================================================================

IPv4 Table de routage
===========================================================================
Routes actives :
Destination réseau    Masque réseau  Adr. passerelle   Adr. interface Métrique
          0.0.0.0          0.0.0.0      192.168.2.1    192.168.2.50     55
          0.0.0.0          0.0.0.0      192.168.1.1    192.168.1.23     25
          0.0.0.0          0.0.0.0      On-link          10.8.0.2      5
        127.0.0.0        255.0.0.0      On-link            127.0.0.1    331
===========================================================================
Itinéraires persistants :
  Aucun

IPv6 Table de routage
===========================================================================
Routes actives :
 If Metric Network Destination      Gateway
 12    281 ::/0                     fe80::da58:d7ff:fe00:1
 17     25 ::/0
                                    fe80::1234:5678:9abc:def0
  1    331 ::1/128                     On-link
===========================================================================
"""


def test_linux_tells_default_routes_by_metric() -> None:
    assert linux_routes(LINUX) == [Route("10.0.0.254", "eth0"), Route("192.168.1.1", "wlan0")]
    assert linux_routes_ipv6(LINUX_IPV6) == [Route("2001:db8::1", "wlan0"), Route("fe80::fe%eth0", "eth0")]


def test_a_machine_without_routes_has_no_gateway() -> None:
    assert (
        linux_routes(LINUX.splitlines()[0]) == linux_routes_ipv6("") == netstat_routes("") == windows_routes("") == []
    )


def test_macos_tells_routers_and_not_links() -> None:
    assert netstat_routes(MACOS) == [Route("192.168.1.1", "en0"), Route("fe80::1%en0", "en0")]
    assert netstat_routes(OLD_MACOS) == [Route("192.168.1.1", "en1")]
    assert netstat_routes(FREEBSD) == [Route("10.0.0.1", "em0")]


def test_windows_tells_routers_in_any_language() -> None:
    assert windows_routes(WINDOWS) == [
        Route("192.168.1.1", "192.168.1.23"),
        Route("192.168.2.1", "192.168.2.50"),
        Route("fe80::1234:5678:9abc:def0%17", "17"),
        Route("fe80::da58:d7ff:fe00:1%12", "12"),
    ]


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIBRATS_PORT_MAPPING")


@pytest.mark.usefixtures("asking")
@pytest.mark.parametrize(
    ("platform", "command", "printed", "ipv6"),
    [
        ("darwin", "netstat -rn", MACOS, Gateway("fe80::1%en0", "2001:db8::5")),
        ("win32", "route print", WINDOWS, Gateway("fe80::da58:d7ff:fe00:1%12", "2001:db8::5")),
    ],
)
async def test_other_systems_are_asked_by_their_programs(
    monkeypatch: pytest.MonkeyPatch, platform: str, command: str, printed: str, ipv6: Gateway
) -> None:
    ran = []

    def run(arguments: Sequence[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        ran.append(" ".join([Path(arguments[0]).stem, *arguments[1:]]))
        assert options["timeout"]
        return subprocess.CompletedProcess(arguments, 0, printed.encode("cp850"), b"")

    addresses = [ifaddr.IP((host, 0, 0), 64, "en0") for host in ("fe80::5", "2001:db8::5")]
    adapter = ifaddr.Adapter("en0", "en0", [*addresses, ifaddr.IP("192.168.1.23", 24, "en0")], index=12)
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: [adapter])
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(shutil, "which", lambda name, path=None: f"/usr/sbin/{name}")
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(gateways, "_source_towards", lambda host: ["192.168.1.23"] if host == "192.168.1.1" else [])
    assert await default_gateways() == [Gateway("192.168.1.1", "192.168.1.23"), ipv6]
    assert ran == [command]


@pytest.mark.usefixtures("asking")
@pytest.mark.parametrize("failure", [OSError("no such program"), subprocess.TimeoutExpired("netstat", 5), None])
async def test_a_system_that_does_not_tell_has_no_gateway(
    monkeypatch: pytest.MonkeyPatch, failure: Exception | None
) -> None:
    def run(*_: object, **__: object) -> subprocess.CompletedProcess[bytes]:
        assert failure is not None
        raise failure

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(shutil, "which", lambda name, path=None: f"/bin/{name}" if failure else None)
    monkeypatch.setattr(subprocess, "run", run)
    assert await default_gateways() == []


@pytest.mark.usefixtures("asking")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux")
async def test_this_machine_tells_its_gateways() -> None:
    found = await default_gateways()
    for gateway in found:
        ipaddress.ip_address(gateway.host)
        family = socket.AF_INET6 if ":" in gateway.local else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((gateway.local, 0))  # it is an address of this machine


async def test_an_environment_that_says_so_has_no_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateways, "_system_gateways", lambda: [Gateway("192.168.1.1", "192.168.1.23")])
    monkeypatch.setenv("LIBRATS_PORT_MAPPING", "0")
    assert await default_gateways() == []
    monkeypatch.setenv("LIBRATS_PORT_MAPPING", "1")
    assert len(await default_gateways()) == 1
