"""What an offer says: read only in its one form, and refused where it is hostile, with the limit named."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.reference import bencode as oracle

from librats.errors import TransferError
from librats.transfer.manifest import (
    MAX_HEAD,
    Manifest,
    ManifestHead,
    ManifestLimits,
    OfferedFile,
    content_id,
    read_head,
    read_manifest,
    write_manifest,
)
from librats.transfer.tree import MAX_LENGTH, hash_file

ROOT = hash_file([b"hello"]).root
EMPTY = hash_file([]).root
VECTORS = json.loads((Path(__file__).parents[2] / "vectors/transfer/manifests.json").read_text(encoding="utf-8"))[
    "vectors"
]


def entry(path: bytes = b"a", size: Any = 5, root: Any = ROOT, modified: Any = 0, executable: Any = 0) -> list[Any]:
    return [path, size, root, modified, executable]


def head(**fields: Any) -> bytes:
    whole = {b"bytes": 5, b"empty": 0, b"files": 1, b"folder": 1, b"name": b"all", b"v": 1}
    changed = whole | {key.encode(): value for key, value in fields.items()}
    return oracle.encode({key: value for key, value in changed.items() if value is not None})


def raw(entries: Any, folders: Any = (), **fields: Any) -> bytes:
    told = {"files": len(entries), "empty": len(folders), "bytes": sum(one[1] for one in entries)}
    return head(**told | fields) + oracle.encode([list(entries), list(folders)])


def refusal(data: bytes, limits: ManifestLimits | None = None) -> TransferError:
    with pytest.raises(TransferError) as refused:
        read_manifest(data, limits=limits or ManifestLimits())
    assert len(str(refused.value)) < 120
    return refused.value


def offered(*path: str, size: int = 5, root: bytes = ROOT, modified: int = 0, executable: bool = False) -> OfferedFile:
    return OfferedFile(path=path, size=size, root=root, modified=modified, executable=executable)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["what"]))
def test_the_vectors_hold(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["raw"])
    manifest = read_manifest(data)
    told = [["/".join(f.path), f.size, f.root.hex(), f.modified, f.executable] for f in manifest.files]
    assert (manifest.name, manifest.is_folder) == (vector["name"], vector["is_folder"])
    assert told == vector["files"]
    assert ["/".join(path) for path in manifest.empty_folders] == vector["empty_folders"]
    assert write_manifest(manifest) == data
    assert content_id(manifest).hex() == vector["content_id"]


def test_there_are_vectors_of_a_file_a_folder_and_an_empty_folder() -> None:
    assert [(vector["is_folder"], len(vector["files"])) for vector in VECTORS] == [
        (False, 1),
        (False, 1),
        (True, 4),
        (True, 0),
    ]


def test_the_content_id_is_the_documented_hash() -> None:
    timeless = Manifest(name="all", is_folder=True, files=(offered("b"), offered("a")), empty_folders=(("z",), ("y",)))
    assert content_id(timeless) == sha256(b"librats offer 1\0" + write_manifest(timeless)).digest()


def test_copies_of_another_time_have_the_same_content_id() -> None:
    ids = {
        content_id(Manifest(name="all", is_folder=True, files=(offered("a", modified=time), offered("b"))))
        for time in (0, 1, (1 << 63) - 1)
    }
    assert len(ids) == 1


def test_whatever_else_differs_makes_another_content_id() -> None:
    offers = [
        Manifest(name="all", is_folder=True, files=(offered("a"),)),
        Manifest(name="other", is_folder=True, files=(offered("a"),)),
        Manifest(name="a", is_folder=True, files=(offered("a"),)),
        Manifest(name="a", is_folder=False, files=(offered("a"),)),
        Manifest(name="all", is_folder=True, files=(offered("b"),)),
        Manifest(name="all", is_folder=True, files=(offered("a", size=6),)),
        Manifest(name="all", is_folder=True, files=(offered("a", root=bytes(32)),)),
        Manifest(name="all", is_folder=True, files=(offered("a", executable=True),)),
        Manifest(name="all", is_folder=True, files=(offered("a"), offered("b"))),
        Manifest(name="all", is_folder=True, files=(offered("a"),), empty_folders=(("b",),)),
    ]
    assert len({content_id(offer) for offer in offers}) == len(offers)


def test_an_offer_has_one_form_in_whatever_order_it_was_made() -> None:
    files = (offered("b", "x"), offered("a", "z"), offered("a b"), offered("a", "b", "c"), offered("é"))
    folders = (("z", "y"), ("a", "empty"))
    one = Manifest(name="all", is_folder=True, files=files, empty_folders=folders)
    other = Manifest(name="all", is_folder=True, files=files[::-1], empty_folders=folders[::-1])
    assert write_manifest(one) == write_manifest(other)
    read = read_manifest(write_manifest(one))
    assert [f.path for f in read.files] == [("a", "b", "c"), ("a", "z"), ("a b",), ("b", "x"), ("é",)]
    assert read.empty_folders == (("a", "empty"), ("z", "y"))


def test_all_that_a_file_has_is_kept() -> None:
    files = (
        offered("big", size=MAX_LENGTH, modified=(1 << 63) - 1, executable=True),
        offered("empty", size=0, root=EMPTY, modified=1),
    )
    manifest = Manifest(name="all", is_folder=True, files=files)
    assert read_manifest(write_manifest(manifest)) == manifest


def test_the_head_tells_what_is_offered_before_the_rest_has_come() -> None:
    data = raw([entry(b"a"), entry(b"b", size=7)], [b"c"])
    told = ManifestHead(name="all", is_folder=True, files=2, empty_folders=1, size=12)
    assert read_head(data) == told
    assert read_head(data[: len(head()) + 1]) == told


def test_the_longest_head_fits_its_limit() -> None:
    longest = head(name=b"a" * 255, files=10**5, empty=10**5, bytes=1 << 44)
    assert len(longest) < MAX_HEAD
    assert read_head(longest + b"x" * MAX_HEAD).files == 10**5


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"files": 10**6}, "an offer of more than 100000 files"),
        ({"files": 10**400}, "an offer of more than 100000 files"),
        ({"bytes": 10**15}, f"an offer of more than {1 << 44} bytes"),
        ({"empty": 10**6}, "an offer of more than 100000 folders"),
    ],
    ids=str,
)
def test_a_claim_beyond_a_limit_is_refused_with_the_limit_named(fields: dict[str, int], told: str) -> None:
    with pytest.raises(TransferError) as refused:
        read_head(head(**fields))
    assert (refused.value.reason, refused.value.code) == (told, "limit")
    assert refusal(head(**fields) + b"le").reason == told


def test_limits_are_those_that_are_given() -> None:
    data = raw([entry(b"x/a"), entry(b"y/b")])
    assert read_manifest(data, limits=ManifestLimits(files=2, folders=2, size=10, manifest=len(data)))
    for limits in (
        *(ManifestLimits(files=1), ManifestLimits(folders=1), ManifestLimits(size=9)),
        ManifestLimits(manifest=len(data) - 1),
    ):
        assert refusal(data, limits).code == "limit"
    manifest = read_manifest(data)
    for limits in (ManifestLimits(files=1), ManifestLimits(size=9)):
        with pytest.raises(TransferError) as refused:
            write_manifest(manifest, limits=limits)
        assert refused.value.code == "limit"


def test_a_file_beyond_the_limit_of_a_file_is_refused() -> None:
    assert refusal(raw([entry(size=MAX_LENGTH + 1)])).reason == f"a file of more than {MAX_LENGTH} bytes"


BAD_HEADS = [
    *({"v": 2}, {"v": 0}, {"v": None}, {"v": b"1"}, {"folder": 2}, {"folder": None}, {"folder": -1}, {"more": 1}),
    *({"files": -1}, {"files": b"1"}, {"bytes": []}, {"bytes": -5}, {"name": 7}, {"name": [b"a"]}, {"empty": {}}),
    *({"folder": 0, "files": 2}, {"folder": 0, "files": 0}, {"folder": 0, "empty": 1}),
]


@pytest.mark.parametrize("fields", BAD_HEADS, ids=str)
def test_a_head_that_is_not_as_it_must_be_is_refused(fields: dict[str, Any]) -> None:
    assert refusal(head(**fields) + b"llel" + b"ee").code == "bad_offer"


@pytest.mark.parametrize("name", [b"", b"..", b"a/b", b"/", b"C:", b"nul", b"a\0", b"\xff"])
def test_an_offer_with_a_hostile_name_is_refused(name: bytes) -> None:
    assert refusal(raw([entry()], name=name)).code == "bad_name"


BAD_BODIES = [
    *(
        b"",
        b"le",
        b"lee",
        b"llee",
        b"lleleleee",
        b"llelee",
        b"de",
        b"i1e",
        b"llelei1ee",
        b"llelde",
        b"lli1eelee",
        b"ll1:aelee",
    ),
    oracle.encode([[entry()], []]) + b"x",
    oracle.encode([[entry()], []])[:-1],
    oracle.encode([[entry(), entry(b"b")], []]),
    oracle.encode([[entry()], [b"b"]]),
    oracle.encode([[entry()], [[b"b"]]]),
    oracle.encode([[[*entry(), 1]], []]),
    oracle.encode([[entry()[:4]], []]),
    oracle.encode([[[[[[b"a"]]], 5, ROOT, 0, 0]], []]),
    oracle.encode([[entry()], []]).replace(b"i5e", b"i05e"),
    oracle.encode([[entry()], []]).replace(b"i5e", b"i-0e"),
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda body: str(body)[:30])
def test_a_body_that_is_not_as_it_must_be_is_refused(body: bytes) -> None:
    assert refusal(head() + body).code == "bad_offer"


BAD_FILES = [
    *(
        entry(size=-1),
        entry(root=ROOT[:-1]),
        entry(root=ROOT + b"x"),
        entry(root=b""),
        entry(modified=-1),
        entry(executable=2),
    ),
    *(entry(modified=1 << 63), entry(executable=-1), entry(size=0, root=ROOT), entry(modified=10**600)),
    *(entry(root=7), entry(modified=b"0"), entry(executable=b"")),
]


@pytest.mark.parametrize("bad", BAD_FILES, ids=lambda bad: str(bad)[:60])
def test_a_file_that_cannot_be_is_refused(bad: list[Any]) -> None:
    assert refusal(raw([bad], bytes=max(0, bad[1]))).code == "bad_offer"


@pytest.mark.parametrize(
    "path", [b"../a", b"/a", b"a/../b", b"C:/a", b"a\\b", b"nul.txt", b"a.", b"", b"a\x1bb", b"\xff"]
)
def test_a_hostile_path_is_refused(path: bytes) -> None:
    assert refusal(raw([entry(path)])).code == "bad_name"
    assert refusal(raw([entry()], [path])).code == "bad_name"


@pytest.mark.parametrize(
    ("paths", "folders"),
    [
        ([b"A", b"a"], []),
        ([b"a", b"a/b"], []),
        ([b"D/x", b"d/y"], []),
        ([b"a"], [b"a"]),
        ([b"a/b"], [b"a"]),
        ([b"a"], [b"A"]),
    ],
)
def test_paths_that_collide_are_refused(paths: list[bytes], folders: list[bytes]) -> None:
    assert refusal(raw([entry(path) for path in paths], folders)).code == "bad_name"


@pytest.mark.parametrize("paths", [[b"b", b"a"], [b"a", b"a"], [b"a b", b"a/b"]])
def test_paths_that_are_out_of_order_or_come_twice_are_refused(paths: list[bytes]) -> None:
    assert refusal(raw([entry(path) for path in paths])).code == "bad_offer"
    assert refusal(raw([], [b"x/" + path for path in paths])).code == "bad_offer"


def test_a_lie_about_the_size_is_refused() -> None:
    assert refusal(raw([entry()], bytes=4)).reason == "a manifest has another size than it says"
    assert refusal(raw([entry()], bytes=6)).code == "bad_offer"


def test_a_file_that_is_offered_alone_has_one_name() -> None:
    assert read_manifest(raw([entry(b"all")], folder=0)).files[0].path == ("all",)
    assert refusal(raw([entry(b"other")], folder=0)).code == "bad_offer"
    assert refusal(raw([entry(b"all/all")], folder=0)).code == "bad_offer"


@pytest.mark.parametrize("name", ["..", "a/b", "C:", "", "\ud800"])
def test_what_nobody_would_take_is_not_written(name: str) -> None:
    for manifest in (
        Manifest(name=name, is_folder=False, files=(offered(name),)),
        Manifest(name="all", is_folder=True, files=(offered(name),)),
        Manifest(name="all", is_folder=True, files=(), empty_folders=((name,),)),
    ):
        with pytest.raises(TransferError) as refused:
            write_manifest(manifest)
        assert refused.value.code == "bad_name"


def test_nothing_that_cannot_be_is_written() -> None:
    for file in (offered("a", size=-1), offered("a", root=b""), offered("a", modified=-1), offered("a", size=0)):
        with pytest.raises(TransferError) as refused:
            write_manifest(Manifest(name="all", is_folder=True, files=(file,)))
        assert refused.value.code == "bad_offer"
    with pytest.raises(TransferError):
        write_manifest(Manifest(name="a", is_folder=False, files=(offered("a"), offered("b"))))
