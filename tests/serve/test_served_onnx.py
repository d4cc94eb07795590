"""An exported model over HTTP."""

import io

import numpy as np
import pytest
from PIL import Image

from tag2mask.artifacts.labels import LabelFolder
from tag2mask.errors import ModelError
from tag2mask.models.segmenters import load_segmenter


@pytest.fixture(scope="module")
def file(finished, tmp_path_factory):
    """The tiny run's segmenter, exported."""
    pytest.importorskip("onnxscript")
    from tag2mask.export.onnx_model import export_onnx

    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    export_onnx(load_segmenter(finished.folder("segment")), path)
    return path


@pytest.fixture(scope="module")
def client(open_tiny, client_of, file):
    with client_of(open_tiny(file)) as found:
        yield found


@pytest.fixture(scope="module")
def expected(finished):
    """What the run predicted at one scale, without mirror and CRF."""
    return LabelFolder(finished.folder("predict", "plain") / "labels")["val_00000"]


def png_labels(content):
    with Image.open(io.BytesIO(content)) as picture:
        return np.array(picture)


def test_labels_are_those_of_the_run(client, photo, expected):
    labels = png_labels(client.post("/predict?format=png", content=photo).content)
    assert (labels == expected.numpy()).mean() >= 0.999
    assert len(np.unique(labels)) > 1


def test_probabilities_are_shares_of_which_the_label_has_most(client, photo):
    content = client.post("/predict?format=npz", content=photo).content
    with np.load(io.BytesIO(content)) as found:
        shares = found["probabilities"].astype(np.float32)
    assert np.allclose(shares.sum(axis=0), 1, atol=5e-3)
    labels = png_labels(client.post("/predict?format=png", content=photo).content)
    of_label = np.take_along_axis(shares, labels[None].astype(int), axis=0)[0]
    assert np.allclose(of_label, shares.max(axis=0), atol=1e-3)  # stored as halves


def test_it_is_described(client, file):
    about = client.get("/model").json()
    assert about["name"] == file.name
    assert [each["name"] for each in about["classes"]][:2] == ["background", "train"]
    assert about["protocol"]["scales"] == [1.0]
    assert about["scores"] == []
    assert about["card"]["network"] == "deeplab_v2"
    assert client.get("/about").json()["views"] == ["predict"]


def test_another_protocol_is_refused(open_tiny, file):
    with pytest.raises(ModelError, match="without mirror and CRF; to change flip"):
        open_tiny(file, changes={"flip": True})


def test_a_file_that_is_no_model_is_told(open_tiny, tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"x\.onnx cannot be opened as an ONNX model"):
        open_tiny(tmp_path / "x.onnx")
    with pytest.raises(ModelError, match="there is no exported model"):
        open_tiny(tmp_path / "absent.onnx")
