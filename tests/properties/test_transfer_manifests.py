"""Manifests by chance and damaged ones: read back as they were written, or refused with the one documented error."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hostile.mutations import Mutator

from librats.errors import TransferError
from librats.transfer.manifest import Manifest, ManifestLimits, OfferedFile, read_head, read_manifest, write_manifest
from librats.transfer.names import NameSet, check_parts
from librats.transfer.tree import hash_file

EMPTY = hash_file([]).root
LIMITS = ManifestLimits(files=20, folders=30, size=1 << 20, manifest=5000)
PARTS = st.lists(st.sampled_from(["a", "B", "c.txt", "é", "日本", "x y"]), min_size=1, max_size=3).map(tuple)
FILES = st.builds(
    lambda path, size, root, modified, executable: OfferedFile(
        path=path, size=size, root=root if size else EMPTY, modified=modified, executable=executable
    ),
    *(PARTS, st.integers(0, 1 << 16), st.binary(min_size=32, max_size=32), st.integers(0, 2**63 - 1), st.booleans()),
)


def fitting(files: list[OfferedFile], folders: list[tuple[str, ...]]) -> Manifest:
    """Make an offer of those that do not collide with the ones before them."""
    kept: list[OfferedFile] = []
    empty: list[tuple[str, ...]] = []
    items: list[OfferedFile | tuple[str, ...]] = [*files, *folders]
    for item in items:
        names = NameSet()
        try:
            for one in [*kept, *([item] if isinstance(item, OfferedFile) else [])]:
                names.add_file(one.path)
            for path in [*empty, *([] if isinstance(item, OfferedFile) else [item])]:
                names.add_empty_folder(path)
        except TransferError:
            continue
        if isinstance(item, OfferedFile):
            kept.append(item)
        else:
            empty.append(item)
    kept.sort(key=lambda file: [part.encode() for part in file.path])
    empty.sort(key=lambda path: [part.encode() for part in path])
    return Manifest(name="all", is_folder=True, files=tuple(kept), empty_folders=tuple(empty))


MANIFESTS = st.builds(fitting, st.lists(FILES, max_size=5), st.lists(PARTS, max_size=2))


@given(MANIFESTS)
def test_what_is_written_is_read_as_it_was(manifest: Manifest) -> None:
    raw = write_manifest(manifest, limits=LIMITS)
    assert read_manifest(raw, limits=LIMITS) == manifest
    assert read_head(raw).size == manifest.size


def assert_sound(raw: bytes) -> None:
    """See that bytes are refused with the documented error, or are the one form of a sound offer within the limits."""
    try:
        manifest = read_manifest(raw, limits=LIMITS)
    except TransferError as error:
        refused = error.code
    else:
        refused = ""
    assert refused in {"", "bad_name", "bad_offer", "limit"}
    if refused:
        return
    assert write_manifest(manifest, limits=LIMITS) == raw
    assert len(manifest.files) <= LIMITS.files
    assert manifest.size <= LIMITS.size
    for path in [(manifest.name,), *(file.path for file in manifest.files), *manifest.empty_folders]:
        check_parts(path)


@given(MANIFESTS, st.integers(0, 2**32))
@settings(max_examples=300)
def test_a_damaged_manifest_is_refused_or_is_another_sound_one(manifest: Manifest, seed: int) -> None:
    assert_sound(Mutator(seed).mutate(write_manifest(manifest, limits=LIMITS)))


@given(st.lists(st.sampled_from([b"d", b"l", b"e", b"i1e", b"1:a", b"5:bytes", b"4:name", b"1:v", b"9"]), max_size=30))
def test_bencode_by_chance_is_refused(pieces: list[bytes]) -> None:
    assert_sound(b"".join(pieces))
    assert_sound(b"d5:bytesi0e5:emptyi1e5:filesi1e6:folderi1e4:name1:a1:vi1ee" + b"".join(pieces))
