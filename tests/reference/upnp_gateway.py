"""A UPnP gateway on loopback, which maps nothing, and can be told to misbehave."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Self

from aiohttp import web

__all__ = ["FakeGateway"]

SERVICE = "urn:schemas-upnp-org:service:WANIPConnection:1"
DESCRIPTION = """<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0">
 <specVersion><major>1</major><minor>0</minor></specVersion>
 <device>
  <deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType>
  <friendlyName>router</friendlyName><manufacturer>nobody</manufacturer><modelName>none</modelName>
  <UDN>uuid:00000000-0000-0000-0000-000000000001</UDN>
  <serviceList><service>
   <serviceType>{service}</serviceType><serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId>
   <SCPDURL>/scpd.xml</SCPDURL><controlURL>{control}</controlURL><eventSubURL>/events</eventSubURL>
  </service></serviceList>
 </device>
</root>
"""
ARGUMENTS = {
    "GetExternalIPAddress": [("NewExternalIPAddress", "out", "ExternalIPAddress")],
    "DeletePortMapping": [
        ("NewRemoteHost", "in", "RemoteHost"),
        ("NewExternalPort", "in", "ExternalPort"),
        ("NewProtocol", "in", "PortMappingProtocol"),
    ],
    "AddPortMapping": [
        ("NewRemoteHost", "in", "RemoteHost"),
        ("NewExternalPort", "in", "ExternalPort"),
        ("NewProtocol", "in", "PortMappingProtocol"),
        ("NewInternalPort", "in", "InternalPort"),
        ("NewInternalClient", "in", "InternalClient"),
        ("NewEnabled", "in", "PortMappingEnabled"),
        ("NewPortMappingDescription", "in", "PortMappingDescription"),
        ("NewLeaseDuration", "in", "PortMappingLeaseDuration"),
    ],
}
TYPES = {
    "ExternalPort": "ui2",
    "InternalPort": "ui2",
    "PortMappingEnabled": "boolean",
    "PortMappingLeaseDuration": "ui4",
}


def _scpd() -> str:
    actions = ""
    variables: dict[str, None] = {}
    for name, arguments in ARGUMENTS.items():
        listed = ""
        for argument, direction, variable in arguments:
            variables[variable] = None
            listed += (
                f"<argument><name>{argument}</name><direction>{direction}</direction>"
                f"<relatedStateVariable>{variable}</relatedStateVariable></argument>"
            )
        actions += f"<action><name>{name}</name><argumentList>{listed}</argumentList></action>"
    table = "".join(
        f'<stateVariable sendEvents="no"><name>{name}</name>'
        f"<dataType>{TYPES.get(name, 'string')}</dataType></stateVariable>"
        for name in variables
    )
    return (
        '<?xml version="1.0"?><scpd xmlns="urn:schemas-upnp-org:service-1-0">'
        "<specVersion><major>1</major><minor>0</minor></specVersion>"
        f"<actionList>{actions}</actionList><serviceStateTable>{table}</serviceStateTable></scpd>"
    )


class FakeGateway:
    """Serves a description and its control, and notes what it was asked.

    Args:
        host: The loopback address to serve at.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.service = SERVICE
        self.external = "203.0.113.7"
        self.control = "/control"
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.mappings: dict[tuple[str, str], str] = {}
        """Internal client by protocol and external port."""
        self.refuse: Callable[[str, dict[str, str]], int] = lambda _action, _arguments: 0
        """The number of the error that an action is answered with; 0 for none."""
        self.described = 0
        """How often somebody wanted the description."""
        self.describe: Callable[[], Awaitable[web.Response]] | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/root.xml", self._root)
        app.router.add_get("/scpd.xml", self._actions)
        app.router.add_post("/control", self._act)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, 0)
        await site.start()
        self.port: int = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def location(self) -> str:
        return f"http://{self.host}:{self.port}/root.xml"

    async def _root(self, _request: web.Request) -> web.Response:
        self.described += 1
        if self.describe is not None:
            return await self.describe()
        text = DESCRIPTION.format(service=self.service, control=self.control)
        return web.Response(text=text, content_type="text/xml")

    async def _actions(self, _request: web.Request) -> web.Response:
        return web.Response(text=_scpd(), content_type="text/xml")

    async def _act(self, request: web.Request) -> web.Response:
        body = await request.text()
        action = request.headers["SOAPAction"].strip('"').rpartition("#")[2]
        arguments = dict(re.findall(r"<(New\w+)>([^<]*)</New", body))
        self.asked.append((action, arguments))
        number = self.refuse(action, arguments)
        if number:
            fault = (
                "<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>"
                '<UPnPError xmlns="urn:schemas-upnp-org:control-1-0">'
                f"<errorCode>{number}</errorCode><errorDescription>no</errorDescription></UPnPError></detail></s:Fault>"
            )
            return self._envelope(fault, status=500)
        key = arguments.get("NewProtocol", ""), arguments.get("NewExternalPort", "")
        if action == "AddPortMapping":
            self.mappings[key] = arguments["NewInternalClient"]
        elif action == "DeletePortMapping":
            self.mappings.pop(key, None)
        told = f"<NewExternalIPAddress>{self.external}</NewExternalIPAddress>" if action.startswith("Get") else ""
        return self._envelope(f'<u:{action}Response xmlns:u="{self.service}">{told}</u:{action}Response>')

    @staticmethod
    def _envelope(content: str, *, status: int = 200) -> web.Response:
        text = (
            '<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
            's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/">'
            f"<s:Body>{content}</s:Body></s:Envelope>"
        )
        return web.Response(text=text, status=status, content_type="text/xml")
