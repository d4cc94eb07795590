import contextlib
import pickle

import numpy as np
import pytest

from tag2mask.data.label_pickle import read_label_vectors
from tag2mask.errors import DatasetError

HEADER = np.lib.format.magic(1, 0)


def save(path, value):
    np.save(path, value, allow_pickle=True)
    return path


def save_pickle(path, content):
    """Write a .npy of objects whose pickle is ``content``."""
    with path.open("wb") as stream:
        header = {"descr": "|O", "fortran_order": False, "shape": ()}
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(content)
    return path


def complaint(path):
    with pytest.raises(DatasetError) as caught:
        read_label_vectors(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["f4", ">f4", "f8", "f2", "i8", "i4", "u1", "i1", "?"])
def test_vectors_are_those_that_numpy_wrote(tmp_path, kind):
    vectors = {"2007_000032": np.array([1, 0, 1]).astype(kind), 9: np.zeros(3, kind)}
    found = read_label_vectors(save(tmp_path / "a.npy", vectors))
    assert list(found) == ["2007_000032", 9]
    for key, vector in vectors.items():
        assert found[key].dtype == vector.dtype
        assert np.array_equal(found[key], vector)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL))
def test_every_protocol_of_numpy(tmp_path, protocol):
    vectors = {"a": np.array([1, 0], np.float32)}
    content = pickle.dumps(np.array(vectors, dtype=object), protocol=protocol)
    found = read_label_vectors(save_pickle(tmp_path / "a.npy", content))
    assert found["a"].tolist() == [1, 0]


def test_modules_of_numpy_1(tmp_path):
    content = pickle.dumps(np.array({"a": np.zeros(2)}, dtype=object), protocol=2)
    content = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert list(read_label_vectors(save_pickle(tmp_path / "a.npy", content))) == ["a"]


def test_keys_may_be_numbers_and_names_of_numpy(tmp_path):
    vectors = {np.int64(9): np.zeros(2), np.str_("ä_1"): np.ones(2)}
    found = read_label_vectors(save(tmp_path / "a.npy", vectors))
    assert list(found) == [9, "ä_1"]


class Harm:
    """Does harm when it is unpickled as pickles usually are."""

    def __init__(self, call, *arguments):
        self.reduced = call, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("where", ["value", "key", "inside"])
def test_nothing_is_run(tmp_path, where):
    import os

    target = tmp_path / "harmed"
    harm = Harm(os.mkdir, str(target))
    content = {"value": {"a": harm}, "key": harm, "inside": [harm]}[where]
    message = complaint(save(tmp_path / "a.npy", np.array(content, dtype=object)))
    assert "it asks for posix.mkdir, which no label file needs, and is not run" in (
        message
    )
    assert not target.exists()


@pytest.mark.parametrize(
    "harm",
    [
        Harm(eval, "1"),
        Harm(getattr, "a", "upper"),
        Harm(np.ndarray, (2,)),
        Harm(np.load, "/etc/passwd"),
        Harm(np.frombuffer, b"1"),
    ],
    ids=["eval", "getattr", "ndarray", "load", "frombuffer"],
)
def test_other_functions_are_refused(tmp_path, harm):
    complaint(save(tmp_path / "a.npy", {"a": harm}))


def test_stand_ins_cannot_be_changed(tmp_path):
    # names ndarray's stand-in, then sets its state
    content = b"cnumpy\nndarray\n}(X\x01\x00\x00\x00aK\x01ub."
    message = complaint(save_pickle(tmp_path / "a.npy", content))
    assert "it changes what it was given" in message


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ({"a": np.array([None, 1], object)}, "an array is of type 'O8'"),
        ({"a": np.array(["x"])}, "an array is of type '<U1'; expected numbers"),
        ({"a": np.zeros((2, 2))}, "the entry 'a' has the shape (2, 2); expected a vec"),
        ({"a": [1, 0]}, "the entry 'a' is none; expected a vector of numbers"),
        ({(1, 2): np.zeros(2)}, "the entry (1, 2) is none"),
        ([np.zeros(2)] * 2, ""),
        (np.zeros(3), "it holds an array of numbers"),
    ],
    ids=["objects", "text", "matrix", "list", "tuple", "no dictionary", "plain"],
)
def test_what_is_no_label_file_is_named(tmp_path, value, part):
    array = value if isinstance(value, np.ndarray) else np.empty((), object)
    if array is not value:
        array[()] = value
    message = complaint(save(tmp_path / "a.npy", array))
    assert part in message
    assert "expected" in message


@pytest.mark.parametrize("share", [0, 0.3, 0.6, 0.95])
def test_damaged_file_is_named(tmp_path, share):
    vectors = {str(n): np.zeros(20) for n in range(50)}
    path = save(tmp_path / "a.npy", vectors)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "cannot be read as label vectors: " in complaint(path)


def test_any_altered_byte_is_read_or_told(tmp_path):
    path = save(tmp_path / "a.npy", {"a": np.arange(3.0), 7: np.zeros(3)})
    content = path.read_bytes()
    for place in range(len(content)):
        for flip in (1, 0x20, 0xFF):
            changed = bytearray(content)
            changed[place] ^= flip
            path.write_bytes(bytes(changed))
            with contextlib.suppress(DatasetError):
                read_label_vectors(path)


def test_missing_file_is_named(tmp_path):
    assert "there is no label file" in complaint(tmp_path / "a.npy")


@pytest.mark.parametrize(
    "numbering", [b"r\xff\xff\xff\x7f", b"p2147483647\n"], ids=["LONG_BINPUT", "PUT"]
)
def test_a_number_that_would_take_gigabytes_is_refused_unread(tmp_path, numbering):
    """Found by the fuzz lane: a file of 458 bytes that asked for 21 GB."""
    path = tmp_path / "cls_labels.npy"
    save_pickle(path, b"\x80\x02}" + numbering + b".")
    assert "it numbers an object 2147483647 in" in complaint(path)
