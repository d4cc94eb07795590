"""What the service answers, in the process of the test."""

import io
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco

from tag2mask import config
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.data.images import read_image
from tag2mask.models.segmenters import load_segmenter
from tag2mask.stages.predict import predict_labels

PNG = {"Content-Type": "image/png"}


def png_labels(content):
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.mode == "P"
        return np.array(picture)


@pytest.fixture(scope="module")
def expected(finished):
    """The label map that the run itself made of the picture, mirror included."""
    labels = LabelFolder(finished.folder("predict", "final") / "labels")
    return labels["val_00000"].numpy()


def test_png_is_what_the_run_predicted(client, photo, expected):
    answer = client.post("/predict", content=photo, headers=PNG)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert np.array_equal(png_labels(answer.content), expected)
    assert len(np.unique(expected)) > 1


def test_a_form_is_the_same_as_a_body(client, photo, expected):
    answer = client.post("/predict", files={"image": ("a.png", photo, "image/png")})
    assert np.array_equal(png_labels(answer.content), expected)


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools' own
def test_run_length_codes_are_cocos(client, photo, expected):
    record = client.post("/predict?format=rle", content=photo).json()
    assert (record["height"], record["width"]) == expected.shape
    names = ("background", "train", "boat", "bird", "cow", "car", "house")
    assert [each["id"] for each in record["classes"]] == np.unique(expected).tolist()
    for each in record["classes"]:
        is_class = expected == each["id"]
        assert np.array_equal(coco.decode(each["rle"]), is_class)
        assert each["name"] == names[each["id"]]
        assert each["area"] == is_class.sum()
        assert each["share"] == pytest.approx(is_class.mean(), abs=1e-6)


def test_probabilities_are_those_of_the_labels(client, photo, expected):
    answer = client.post("/predict?format=npz", content=photo)
    with np.load(io.BytesIO(answer.content), allow_pickle=False) as arrays:
        probabilities = arrays["probabilities"].astype(np.float32)
        assert arrays["class_names"].tolist()[:2] == ["background", "train"]
    assert probabilities.shape == (7, *expected.shape)
    assert probabilities.sum(axis=0) == pytest.approx(1, abs=5e-3)  # float16
    best = probabilities.max(axis=0)
    of_labels = np.take_along_axis(probabilities, expected[None].astype(int), 0)[0]
    assert of_labels == pytest.approx(best, abs=1e-3)


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("*/*", "image/png"),
        ("image/png", "image/png"),
        ("application/json", "application/json"),
        ("text/html, application/json;q=0.5", "application/json"),
        ("image/png;q=0.3, application/json;q=0.5", "application/json"),
        ("application/x-npz", "application/x-npz"),
        ("application/octet-stream", "application/x-npz"),
        ("image/png;q=0, application/json", "application/json"),
        ("", "image/png"),
    ],
)
def test_accept_chooses_the_format(client, photo, accept, media):
    answer = client.post("/predict", content=photo, headers={"Accept": accept})
    assert answer.headers["content-type"] == media


@pytest.mark.parametrize("accept", ["text/html", "image/png;q=0", "image/png;q=x", ";"])
def test_no_format_that_is_liked_is_a_406(client, photo, accept):
    answer = client.post("/predict", content=photo, headers={"Accept": accept})
    assert answer.status_code == 406
    assert "image/png, application/json, application/x-npz" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "this is no image; expected JPEG, PNG"),
        (b"GIF89a", "this is no image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "this is no image"),
        (b"\x89PNG\r\n\x1a\n" + 40 * b"\0", "this is no image"),
    ],
)
def test_what_is_no_image_is_told(client, content, said):
    answer = client.post("/predict", content=content)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(said)


def test_a_cut_image_is_told(client, photo):
    answer = client.post("/predict", content=photo[: len(photo) // 2])
    assert answer.status_code == 400
    assert "the image cannot be read" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"picture": b"x"}, "expected a file in the form's field `image`"),
        ({"image": None}, "expected a file in the form's field `image`"),
        ({"image": b"x", "other": b"y"}, "Too many files"),
    ],
)
def test_a_form_without_its_one_file_is_told(client, parts, said):
    files = {
        name: (name if data else None, data or "x") for name, data in parts.items()
    }
    answer = client.post("/predict", files=files)
    assert answer.status_code == 400
    assert said in answer.json()["detail"]


def test_a_form_without_its_boundary_is_told(client):
    headers = {"Content-Type": "multipart/form-data"}
    answer = client.post("/predict", content=b"x", headers=headers)
    assert answer.status_code == 400


def test_a_small_file_of_many_pixels_is_refused_undecoded(open_tiny, client_of):
    stream = io.BytesIO()
    Image.new("1", (4000, 4000)).save(stream, "PNG")
    assert len(stream.getvalue()) < 10_000
    with client_of(open_tiny(pixels=15_999_999)) as client:
        answer = client.post("/predict", content=stream.getvalue())
    assert answer.status_code == 400
    assert "too large: 16000000 pixels, at most 15999999" in answer.json()["detail"]


def test_model_tells_classes_protocol_and_scores(client):
    found = client.get("/model").json()
    assert found["classes"][1] == {"id": 1, "name": "train", "colour": "#800000"}
    assert found["protocol"]["flip"] is True
    assert found["protocol_in_words"] == "scales 1, mirror, CRF none"
    assert found["card"]["backbone"] == "test_resnet"
    assert "class_names" not in found["card"]
    assert {score["subject"] for score in found["scores"]} == {"plain", "final"}
    assert all("uses_truth" in score["protocol"] for score in found["scores"])


def test_a_segment_folder_is_served_as_predict_does(
    open_tiny, client_of, finished, world, photo
):
    folder = finished.folder("segment")
    with client_of(open_tiny(folder, changes={"scales": [0.5]})) as client:
        answer = client.post("/predict", content=photo)
        assert client.get("/about").json()["views"] == ["predict"]
        assert client.get("/model").json()["scores"] == []
        assert client.get("/review").status_code == 404
    pixels = torch.from_numpy(read_image(world / "images" / "val_00000.png"))
    network = load_segmenter(folder).network
    cpu = torch.device("cpu")
    settings = config.Predict(scales=(0.5,))
    found = predict_labels(network, pixels, settings, cpu)
    assert np.array_equal(png_labels(answer.content), found.numpy())


def test_a_run_without_a_segmenter_has_a_review_only(
    open_tiny, client_of, finished, photo, tmp_path
):
    work = shutil.copytree(finished.work, tmp_path / "work")
    summary = work / finished.summary.relative_to(finished.work)
    record = finished.record["artifacts"] | {"segment": None}
    summary.write_text(json.dumps(finished.record | {"artifacts": record}))
    with client_of(open_tiny(summary)) as client:
        assert client.get("/about").json()["views"] == ["review"]
        answer = client.post("/predict", content=photo)
        assert answer.status_code == 404
        assert "no segmenter yet; run its recipe" in answer.json()["detail"]
        assert client.get("/healthz").status_code == 200


def test_page_and_schema_load_nothing_from_elsewhere(client):
    page = client.get("/")
    assert page.status_code == 200
    assert "http" not in page.text
    for name in (
        "page.css",
        "main.js",
        "client.js",
        "predict.js",
        "review.js",
        "rle.js",
    ):
        found = client.get(f"/page/{name}")
        assert found.status_code == 200
        assert "http" not in found.text
        assert "innerHTML" not in found.text
    assert client.get("/docs").status_code == 404
    assert client.get("/page/../app.py").status_code == 404
    assert client.get("/page/%2e%2e/app.py").status_code == 404
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/predict", "/model", "/healthz", "/label-studio/predict"} <= set(paths)
    assert set(paths["/predict"]["post"]["requestBody"]["content"]) == {
        "image/*",
        "multipart/form-data",
    }
