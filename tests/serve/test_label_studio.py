"""Label Studio's protocol for ML backends."""

import base64
import io
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from PIL import Image

from tag2mask.data.brush_code import encode_brush
from tag2mask.errors import DatasetError, Tag2MaskError
from tag2mask.serve.label_studio import Control, read_control
from tag2mask.serve.task_images import TaskImages, check_origin

CONFIG = """<View><Image name="img" value="$photo" zoom="true"/>
<BrushLabels name="tag" toName="img"><Label value="{}"/></BrushLabels></View>"""


@pytest.fixture
def inline(photo):
    return "data:image/png;base64," + base64.b64encode(photo).decode()


@pytest.fixture
def expected(client, photo):
    content = client.post("/predict", content=photo).content
    return np.array(Image.open(io.BytesIO(content)))


def ask(client, address, label_config):
    body = {"tasks": [{"id": 7, "data": {"photo": address}}], "project": "1.2",
            "label_config": label_config, "params": {"context": None}}  # fmt: skip
    return client.post("/label-studio/predict", json=body)


def test_connecting(client):
    assert client.get("/label-studio/health").json()["status"] == "UP"
    body = {
        "project": "1.2",
        "schema": CONFIG,
        "hostname": "http://x",
        "access_token": "t",
    }
    version = client.post("/label-studio/setup", json=body).json()["model_version"]
    assert version == client.get("/model").json()["version"]
    assert client.get("/label-studio/versions").json() == {"versions": [version]}
    webhook = client.post("/label-studio/webhook", json={"action": "X"})
    assert webhook.json() == {"status": "ignored"}


def test_a_task_gets_a_brush_for_each_class_that_its_config_knows(
    client, inline, expected
):
    classes = client.get("/model").json()["classes"]
    number = next(n for n in np.unique(expected) if n)
    name = classes[number]["name"]
    (found,) = ask(client, inline, CONFIG.format(name)).json()["results"]
    (region,) = found["result"]
    assert region["type"] == "brushlabels"
    assert (region["from_name"], region["to_name"]) == ("tag", "img")
    height, width = expected.shape
    assert (region["original_height"], region["original_width"]) == (height, width)
    assert region["value"]["brushlabels"] == [name]
    assert region["value"]["rle"] == encode_brush(expected == number)
    assert 1 / len(classes) < region["score"] <= 1
    assert 1 / len(classes) < found["score"] <= 1
    assert (
        ask(client, inline, CONFIG.format("emu")).json()["results"][0]["result"] == []
    )


def test_background_is_no_brush_even_if_it_is_a_label(client, inline):
    found = ask(client, inline, CONFIG.format("background")).json()["results"]
    assert found[0]["result"] == []


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("https://example.org/a.png", "nothing is fetched: start with --label-studio"),
        ("/data/upload/1/a.png", "nothing is fetched"),
        ("file:///etc/passwd", "nothing is fetched"),
        ("data:image/png,abc", "must be data:image/...;base64,..."),
        ("data:image/png;base64,%%%", "no base64"),
        (3, "expected an address of an image in data.photo"),
    ],
)
def test_images_that_cannot_be_had_are_told(client, address, said):
    answer = ask(client, address, CONFIG.format("boat"))
    assert answer.status_code == 400
    assert said in answer.json()["detail"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<View>", "is no XML"),
        ("<View/>", "needs <Image name='image'"),
        (CONFIG.replace("$photo", "photo"), "needs <Image"),
        (CONFIG.replace('toName="img"', 'toName="other"'), "needs <Image"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><View>&b;</View>', "document type"),
    ],
)
def test_a_config_without_a_brush_is_told(text, said):
    with pytest.raises(DatasetError, match=said.replace("$", r"\$")):
        read_control(text)


def test_a_config_with_comments_is_read():
    text = "<!-- mine -->" + CONFIG.format("a")
    assert read_control(text) == Control("tag", "img", "photo", frozenset({"a"}))


@pytest.fixture
def elsewhere(photo):
    """A server that holds the photo, points elsewhere, or sends too much."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path, self.headers.get("Authorization")))
            moved = self.path == "/moved.png"
            self.send_response(302 if moved else 200)
            if moved:
                self.send_header("Location", "/photo.png")
            self.end_headers()
            self.wfile.write(photo if self.path == "/photo.png" else 2 * photo)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()
        thread.join()


def test_images_of_the_one_server_are_fetched_with_its_key(elsewhere, photo):
    origin, seen = elsewhere
    images = TaskImages(origin, "key", len(photo))
    assert images.read("/photo.png") == photo
    assert images.read(f"{origin}/photo.png") == photo
    assert seen == [("/photo.png", "Token key")] * 2
    for address in ("/moved.png", "/large.png"):
        with pytest.raises(DatasetError, match=r"cannot be fetched"):
            images.read(address)
    assert ("/photo.png", "Token key") not in seen[2:]  # no redirect was followed


@pytest.mark.parametrize(
    "address",
    ["http://example.org/a.png", "//example.org/a.png", "file:///etc/passwd",
     "http://127.0.0.1:1/a.png", "http://user@127.0.0.1/a", "https://127.0.0.1/a"],
)  # fmt: skip
def test_nothing_is_fetched_from_elsewhere(address):
    images = TaskImages("http://127.0.0.1", None, 10)
    with pytest.raises(DatasetError, match="nothing is fetched from elsewhere"):
        images.read(address)


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://Localhost:80/", "http://localhost"),
        ("https://[::1]:443", "https://[::1]"),
    ],
)
def test_origins_are_written_in_one_way(address, origin):
    assert check_origin(address) == origin


@pytest.mark.parametrize(
    "address", ["localhost", "ftp://a", "http://a/b", "http://a:x"]
)
def test_what_is_no_address_of_a_server_is_told(address):
    with pytest.raises(Tag2MaskError, match="--label-studio expects an address"):
        check_origin(address)


def test_a_config_with_half_a_surrogate_pair_is_told():
    with pytest.raises(DatasetError, match="is no XML"):
        read_control("<View \ud800/>")


def test_an_address_with_stray_brackets_is_not_fetched():
    images = TaskImages("http://localhost:8080", None, 100)
    with pytest.raises(DatasetError, match="is not at http://localhost:8080"):
        images.read("http://[")
