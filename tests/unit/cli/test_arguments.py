"""Options that sub-commands share, and the client that comes of them."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import pytest

from librats.cli.arguments import JsonPair, add_node_options, make_client
from librats.cli.reaching import needs_mdns
from librats.config import CarryLimits, DhtConfig, NatTraversalConfig, RatsConfig
from librats.errors import StoreError, UsageError
from librats.peers.keeping.config_file import StoredConfig, write_config
from librats.servers import TurnServer
from librats.types import Address


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    add_node_options(parser)
    parser.add_argument("--message", action=JsonPair, nargs=2, default=[])
    return parser


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("8080", Address("", 8080)),
        (":8080", Address("", 8080)),
        ("127.0.0.1:0", Address("127.0.0.1", 0)),
        ("[::1]:9", Address("::1", 9)),
    ],
)
def test_a_place_to_listen_is_an_address_or_just_a_port(
    parser: argparse.ArgumentParser, text: str, address: Address
) -> None:
    assert parser.parse_args(["--listen", text]).listen == address


@pytest.mark.parametrize(
    ("text", "named"), [("chat/2.1", ("chat", "2.1")), ("a/b/1", ("a/b", "1")), ("chat", ("chat", ""))]
)
def test_a_protocol_is_a_name_and_a_version(
    parser: argparse.ArgumentParser, text: str, named: tuple[str, str], tmp_path: Path
) -> None:
    client = make_client(parser.parse_args(["--protocol", text, "--data-dir", str(tmp_path)]))
    assert (client._config.protocol_name, client._config.protocol_version) == named
    assert client._config.protocol == text


@pytest.mark.parametrize(
    ("options", "encryption", "exchange"),
    [
        ([], "required", False),
        (["--encryption", "off", "--peer-exchange"], "off", True),
        (["--encryption", "required", "--no-peer-exchange"], "required", False),
    ],
)
def test_encryption_and_peer_exchange_reach_the_configuration(
    parser: argparse.ArgumentParser, options: list[str], encryption: str, exchange: bool
) -> None:
    config = make_client(parser.parse_args(options))._config
    assert (config.encryption, config.peer_exchange) == (encryption, exchange)


@pytest.mark.parametrize(("options", "maps"), [([], True), (["--port-mapping"], True), (["--no-port-mapping"], False)])
def test_port_mapping_reaches_the_configuration(
    parser: argparse.ArgumentParser, options: list[str], maps: bool
) -> None:
    assert make_client(parser.parse_args(options))._config.nat.enable_port_mapping is maps


def test_what_is_carried_of_others_reaches_the_configuration(parser: argparse.ArgumentParser, tmp_path: Path) -> None:
    def carried(*options: str) -> CarryLimits | None:
        return make_client(parser.parse_args(options))._config.nat.carry

    assert carried() is carried("--no-carry") is None
    assert carried("--carry") == CarryLimits()
    assert carried("--carry", "--carry-bytes", "9", "--carry-seconds", "5") == CarryLimits(bytes=9, seconds=5.0)
    for options in (("--carry-bytes", "9"), ("--no-carry", "--carry-seconds", "5")):
        with pytest.raises(UsageError, match="go with --carry"):
            carried(*options)
    path = tmp_path / "config.json"
    limits = CarryLimits(bytes=10, rate=3.0)
    write_config(StoredConfig(config=RatsConfig(nat=NatTraversalConfig(carry=limits))), path)
    file = ("--config", str(path))
    assert carried(*file) == limits
    assert carried(*file, "--carry-bytes", "11") == CarryLimits(bytes=11, rate=3.0)
    assert carried(*file, "--no-carry") is None


def test_turn_servers_and_the_policy_reach_the_configuration_and_override_its_file(
    parser: argparse.ArgumentParser, tmp_path: Path
) -> None:
    first, second = "turn:ann:secret@192.0.2.1", "turn:ann:secret@turn.example.org:3479?transport=tcp"
    nat = make_client(parser.parse_args(["--turn", first, "--turn", second, "--path-policy", "relay_only"]))._config.nat
    assert nat.turn_servers == (TurnServer.from_uri(first), TurnServer.from_uri(second))
    assert nat.path_policy == "relay_only"
    path = tmp_path / "config.json"
    config = RatsConfig(nat=NatTraversalConfig(stun_servers=("192.0.2.9",), turn_servers=(first,)))
    write_config(StoredConfig(config=config), path)
    file = ["--config", str(path)]
    assert make_client(parser.parse_args(file))._config.nat == config.nat
    nat = make_client(parser.parse_args([*file, "--turn", second]))._config.nat
    assert (nat.stun_servers, nat.turn_servers) == (("192.0.2.9",), (TurnServer.from_uri(second),))
    nat = make_client(parser.parse_args([*file, "--path-policy", "direct_only"]))._config.nat
    assert (nat.path_policy, nat.turn_servers) == ("direct_only", config.nat.turn_servers)
    with pytest.raises(UsageError, match="needs --turn"):
        make_client(parser.parse_args(["--path-policy", "relay_only"]))


def test_a_configuration_file_is_taken_and_options_override_it(parser: argparse.ArgumentParser, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    config = RatsConfig(listen_host="127.0.0.1", protocol_name="game", max_peers=7)
    write_config(StoredConfig(config=config, listen_port=8123), path)
    args = parser.parse_args(["--config", str(path)])
    client = make_client(args)
    assert (client._config, client._wanted_port, args.listen) == (config, 8123, Address("127.0.0.1", 8123))
    client = make_client(parser.parse_args(["--config", str(path), "--listen", "[::1]:9", "--protocol", "chat/2"]))
    expected = dataclasses.replace(config, listen_host="::1", protocol_name="chat", protocol_version="2")
    assert (client._config, client._wanted_port) == (expected, 9)
    with pytest.raises(StoreError, match="does not exist"):
        make_client(parser.parse_args(["--config", str(tmp_path / "other.json")]))


def test_pairs_of_type_and_json_are_collected_in_order(parser: argparse.ArgumentParser) -> None:
    args = parser.parse_args(["--message", "a", "null", "--message", "b", '{"c": [1.5, "é"]}'])
    assert args.message == [("a", None), ("b", {"c": [1.5, "é"]})]
    assert parser.parse_args([]).message == []


def test_mdns_is_neither_asked_for_nor_refused_where_nothing_is_said(parser: argparse.ArgumentParser) -> None:
    asked = [parser.parse_args(options).mdns for options in ([], ["--mdns"], ["--no-mdns"])]
    assert asked == [None, True, False]


def test_only_a_bare_peer_id_has_to_be_looked_for() -> None:
    assert needs_mdns("ab" * 32)
    assert not needs_mdns(f"{'ab' * 32}@127.0.0.1:1")
    assert not needs_mdns("127.0.0.1:1")


def test_introducers_and_stun_servers_reach_the_configuration(parser: argparse.ArgumentParser) -> None:
    introducer = f"{'0a' * 32}@relay.example.org:3478"
    args = parser.parse_args(["--introducer", introducer, "--stun", "192.0.2.7:3479"])
    nat = make_client(args)._config.nat
    assert (nat.introducers, nat.stun_servers) == ((introducer,), ("192.0.2.7:3479",))
    assert args.introducer == (introducer,)
    for wrong in (["--introducer", "relay.example.org:3478"], ["--introducer", "0a@x:1"], ["--stun", "x:0"]):
        with pytest.raises(SystemExit):
            parser.parse_args(wrong)


@pytest.mark.parametrize(
    ("configured", "options", "published"),
    [(False, [], False), (True, [], True), (False, ["--publish"], True), (True, ["--no-publish"], False)],
)
def test_a_node_is_found_by_its_id_where_an_option_or_else_the_file_says_so(
    parser: argparse.ArgumentParser, tmp_path: Path, configured: bool, options: list[str], published: bool
) -> None:
    file = tmp_path / "config.json"
    write_config(StoredConfig(config=RatsConfig(dht=DhtConfig(publish=configured))), file)
    client = make_client(parser.parse_args([*options, "--config", str(file), "--data-dir", str(tmp_path)]))
    assert client._config.dht.publish is published
