"""miniupnpd, the daemon of most home routers, on the router of a laboratory."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.netns.lab import PATH, Lab, end, tool_path

__all__ = ["OUTSIDE", "miniupnpd", "missing_miniupnpd", "rules_of"]

OUTSIDE = "11.0.0.101"
"""What the router calls its public address: the daemon refuses those of documentation, which the laboratory has."""

RULES = """\
table inet upnp {
 chain forward { type filter hook forward priority 10; jump forward_upnp
 }
 chain prerouting { type nat hook prerouting priority -101; jump dnat_upnp
 }
 chain postrouting { type nat hook postrouting priority 99; jump snat_upnp
 }
 chain forward_upnp { }
 chain dnat_upnp { }
 chain snat_upnp { }
}
"""
SETTINGS = """\
ext_ifname=wan
ext_ip={outside}
listening_ip=lan
port=0
enable_natpmp={packets}
enable_upnp={upnp}
secure_mode=yes
system_uptime=no
upnp_table_name=upnp
upnp_nat_table_name=upnp
upnp_forward_chain=forward_upnp
upnp_nat_chain=dnat_upnp
upnp_nat_postrouting_chain=snat_upnp
uuid=00000000-0000-0000-0000-000000000001
{permission} {first_port}-65535 192.168.1.0/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""


def missing_miniupnpd() -> str:
    """Return why the daemon cannot be used; empty where it can."""
    program = shutil.which("miniupnpd", path=PATH)
    if program is None:
        return "miniupnpd is not installed"
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return "" if "nftables" in told.stdout + told.stderr else "miniupnpd is not the one for nftables"


@contextlib.contextmanager
def miniupnpd(
    lab: Lab,
    folder: Path,
    *,
    packets: bool = True,
    upnp: bool = False,
    permits: bool = True,
    first_port: int = 1024,
) -> Iterator[None]:
    """Run the daemon on the router next to the host.

    Args:
        lab: Where.
        folder: Where its files go.
        packets: Whether it speaks PCP and NAT-PMP.
        upnp: Whether it speaks UPnP.
        permits: Whether it grants anything.
        first_port: The lowest port outside that it grants.
    """
    words = {True: "yes", False: "no"}
    settings = folder / "miniupnpd.conf"
    settings.write_text(
        SETTINGS.format(
            outside=OUTSIDE,
            packets=words[packets],
            upnp=words[upnp],
            permission="allow" if permits else "deny",
            first_port=first_port,
        )
    )
    with lab.enter("r1"):
        _tell(lab, "nft", ["-f", "-"], RULES)
        _tell(lab, "ip", ["addr", "replace", f"{OUTSIDE}/32", "dev", "wan"])
    with lab.enter("inet"):
        _tell(lab, "ip", ["route", "replace", f"{OUTSIDE}/32", "dev", "out0"])
    program = tool_path("miniupnpd")
    with (folder / "miniupnpd.log").open("wb") as log, lab.enter("r1"):
        command = [program, "-d", "-f", str(settings), "-P", str(folder / "pid")]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(500):
            assert process.poll() is None, (folder / "miniupnpd.log").read_text(errors="replace")
            if "listening" in (folder / "miniupnpd.log").read_text(errors="replace"):
                break
            time.sleep(0.01)
        yield
    finally:
        end(process)
        with lab.enter("r1"):
            _tell(lab, "nft", ["delete", "table", "inet", "upnp"])


def rules_of(lab: Lab) -> list[str]:
    """Return the rules that hand something on to the host."""
    with lab.enter("r1"):
        listing = _tell(lab, "nft", ["list", "chain", "inet", "upnp", "dnat_upnp"])
    return [line.strip() for line in listing.splitlines() if "dnat" in line and "chain" not in line]


def _tell(lab: Lab, tool: str, arguments: list[str], text: str = "") -> str:
    done = subprocess.run([tool_path(tool), *arguments], input=text, text=True, capture_output=True, check=False)
    assert done.returncode == 0, f"{lab.namespace('r1')}: {tool} {' '.join(arguments)}: {done.stderr}"
    return done.stdout
