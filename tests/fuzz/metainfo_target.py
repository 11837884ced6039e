"""What libFuzzer runs, by atheris: ``python -m tests.fuzz.metainfo_target [libFuzzer's options] [CORPUS]``.

An input is a torrent file, the info of one, and a magnet link. Whatever it says, only ``DecodeError`` is raised, and a
torrent that is taken has files within its folder that lie one behind the other, and says the same when it is read
again."""

from __future__ import annotations

import contextlib
import random
import sys
from types import FunctionType, ModuleType

import atheris
from tests.hostile.mutations import Mutator

from librats.bittorrent import file_lists, layout, magnet, metainfo, names, outer
from librats.bittorrent.magnet import parse_magnet
from librats.bittorrent.metainfo import Torrent, read_info, read_torrent
from librats.errors import DecodeError, UsageError
from librats.transfer.names import NameSet, check_parts

PIECES = [
    *(b"d", b"l", b"e", b"i0e", b"i1e", b"i-1e", b"i99999999999999999e", b"0:", b"2:..", b"1:/", b"5:a\0b.c", b"32:"),
    *(b"4:infod", b"4:name", b"12:piece length", b"i16384e", b"6:pieces20:", b"6:lengthi", b"5:filesl", b"4:pathl"),
    *(b"9:file treed", b"12:meta versioni2e", b"0:d6:lengthi1ee", b"11:pieces root32:", b"12:piece layersd"),
    *(b"4:attr1:p", b"4:attr1:l", b"12:symlink pathl", b"13:announce-listll", b"8:url-list", b"7:privatei1e"),
]
BIG = 1 << 20


def instrument(module: ModuleType) -> None:
    """Have libFuzzer told of the branches of a module, which atheris cannot do where an editable build imports it."""
    for owner in (module, *vars(module).values()):
        if owner is module or (isinstance(owner, type) and owner.__module__ == module.__name__):
            for item in vars(owner).values():
                function = getattr(item, "fget", None) or getattr(item, "__func__", item)
                if isinstance(function, FunctionType) and function.__module__ == module.__name__:
                    atheris.instrument_func(function)


def look_at(torrent: Torrent) -> None:
    """See that nothing of a torrent that was taken leads out of its folder or of itself."""
    where = torrent.layout
    paths = NameSet()
    for file in where.files:
        if not file.is_pad:
            check_parts(file.path)
            paths.add_file(file.path)
    assert sum(span.size for span in where.spans(0, where.total_size)) == where.total_size
    for piece in {0, where.piece_count - 1}:
        assert 0 <= where.data_size(piece) <= where.piece_size(piece) <= where.piece_length
        if where.piece_size(piece) <= BIG:
            with contextlib.suppress(UsageError):  # its layer is not there
                torrent.piece_is_right(piece, bytes(where.piece_size(piece)))
    again = read_info(torrent.info)
    assert (again.info_hash_v1, again.info_hash_v2) == (torrent.info_hash_v1, torrent.info_hash_v2)
    assert again.layout.files == where.files
    link = torrent.magnet()
    assert parse_magnet(str(link)).info_hash == link.info_hash == torrent.info_hash


def test_one_input(data: bytes) -> None:
    """Try one input."""
    for read in (read_torrent, read_info):
        try:
            torrent = read(data)
        except DecodeError:
            continue
        look_at(torrent)
    with contextlib.suppress(DecodeError):
        link = parse_magnet(data.decode("latin-1"))
        assert parse_magnet(str(link)) == link


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Mutate as libFuzzer does, as the hostile tests do, or put a piece of a torrent in."""
    chance = random.Random(seed)  # noqa: S311 - garbage, no secret
    kind = chance.random()
    if kind < 0.3:
        mutated = atheris.Mutate(data, max_size)
    elif kind < 0.5:
        mutated = Mutator(seed).mutate(data)
    else:
        at = chance.randint(0, len(data))
        mutated = data[:at] + chance.choice(PIECES) + data[at + chance.choice((0, 0, 1, 3, 8)) :]
    return bytes(mutated[:max_size])


def main() -> None:
    """Run libFuzzer until it finds something or its time is over."""
    for module in (metainfo, file_lists, layout, names, magnet, outer):
        instrument(module)
    atheris.Setup(sys.argv, test_one_input, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
