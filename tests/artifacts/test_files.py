import errno
import hashlib
import threading

import pytest

from tag2mask.artifacts.files import (
    SCRATCH_PREFIX,
    clear_scratch,
    content_digest,
    digest,
    file_digest,
    is_scratch,
    read_digests,
    read_json,
    whole_file,
    write_digests,
    write_json,
)
from tag2mask.errors import ArtifactError


def test_folders_are_made_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "a" / "b.txt"
    with whole_file(path) as scratch:
        assert not path.exists()
        assert scratch.parent == path.parent
        scratch.write_text("whole")
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ValueError, OSError])
def test_crash_leaves_the_old_file_and_no_half_one(tmp_path, failure):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def crash():
        with whole_file(path) as scratch:
            scratch.write_text("half")
            raise failure

    with pytest.raises(ArtifactError if failure is OSError else failure):
        crash()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_names_the_file_and_the_cure(tmp_path):
    def fill():
        with whole_file(tmp_path / "cams" / "boat.npz"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ArtifactError) as caught:
        fill()
    assert str(caught.value) == (
        f"cannot write {tmp_path}/cams/boat.npz: No space left on device; make room "
        f"or choose another folder, then run the same command again: it continues"
    )


def test_folder_that_is_a_file_is_told_as_such(tmp_path):
    (tmp_path / "work").write_text("a file")
    with pytest.raises(ArtifactError, match=r"cannot write .*work/a\.txt: "):
        write_json(tmp_path / "work" / "a.txt", 1)


def test_two_writers_never_share_a_scratch_file(tmp_path):
    path = tmp_path / "a.txt"
    found = []

    def write():
        with whole_file(path) as scratch:
            found.append(scratch)
            scratch.write_text("other")

    with whole_file(path) as scratch:
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        scratch.write_text("this")
    assert found != [scratch]
    assert path.read_text() == "this"


def test_longest_name_that_a_file_system_takes(tmp_path):
    path = tmp_path / f"{'x' * 251}.txt"
    write_json(path, 1)
    assert list(tmp_path.iterdir()) == [path]


def test_json_roundtrip_keeps_unicode_readable(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"größe": [1, None, "🌳"]})
    assert read_json(path) == {"größe": [1, None, "🌳"]}
    assert "🌳" in path.read_text(encoding="utf-8")


def test_json_that_is_missing_or_damaged_names_its_file(tmp_path):
    with pytest.raises(ArtifactError, match=r"none\.json does not exist"):
        read_json(tmp_path / "none.json")
    for content in (b"{", b"\xff"):
        (tmp_path / "bad.json").write_bytes(content)
        with pytest.raises(ArtifactError, match=r"bad\.json cannot be read as JSON"):
            read_json(tmp_path / "bad.json")


def test_digest_is_of_the_value_and_not_of_its_order():
    # sha256 of the text {"a":1,"b":[2]}
    expected = hashlib.sha256(b'{"a":1,"b":[2]}').hexdigest()[:12]
    assert digest({"b": [2], "a": 1}) == expected
    assert digest({"b": [2, 3], "a": 1}) != expected


def test_digests_are_those_of_sha256sum(tmp_path):
    folder = tmp_path / "made"
    names = ["a.txt", "sub/größe  two.txt", "sub/line\u2028separator.txt"]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name, encoding="utf-8")
    (folder / f"{SCRATCH_PREFIX}1-2-a.txt").write_text("half")
    listing = tmp_path / "files.sha256"
    write_digests(folder, listing)
    assert read_digests(listing) == {n: file_digest(folder / n) for n in names}
    line = f"{hashlib.sha256(b'a.txt').hexdigest()}  a.txt\n"
    assert listing.read_text(encoding="utf-8").startswith(line)


def test_what_a_crash_left_is_cleared(tmp_path):
    left = tmp_path / "a" / f"{SCRATCH_PREFIX}1-2-x.png"
    kept = tmp_path / "a" / "x.png"
    for path in (left, kept):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert (is_scratch(left), is_scratch(kept)) == (True, False)
    clear_scratch(tmp_path)
    assert list(kept.parent.iterdir()) == [kept]


def test_a_folders_digest_is_of_names_and_contents(tmp_path):
    one = tmp_path / "one"
    (one / "sub").mkdir(parents=True)
    (one / "sub" / "a.txt").write_text("a")
    first = content_digest(one)
    assert content_digest(one / "sub" / "a.txt") == file_digest(one / "sub" / "a.txt")
    (one / "sub" / "a.txt").rename(one / "sub" / "b.txt")
    renamed = content_digest(one)
    (one / "sub" / "b.txt").write_text("b")
    assert len({first, renamed, content_digest(one)}) == 3
