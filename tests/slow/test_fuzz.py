"""Files and requests that nobody would send in good faith: an error, or it works.

Each property damages valid files in many ways and reads them as a user's command does.
What may come of it is a result or an error made for people; nothing may be written but
where it was asked for. ``TAG2MASK_FUZZ_EXAMPLES`` says how many inputs each property
gets; bugs that were found are kept as ordinary tests beside the code.
"""

import io
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import fakes

EXAMPLES = int(os.environ.get("TAG2MASK_FUZZ_EXAMPLES", "2000"))
"""Of each of the 28 properties: 56,000 in all."""
MOST_SECONDS = 20
"""Of a processor, for one input: none may hang."""
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
HARD = settings(
    max_examples=EXAMPLES,
    deadline=None,  # of the clock, which a busy machine stretches: see MOST_SECONDS
    database=None,
    suppress_health_check=list(HealthCheck),
)
NAMES = (
    "..", "../x", "../../x", "/etc/hostname", "a/../../x", "\\..\\x", "", ".", "a",
    "b.png", "sub/c", "x\0y", "x\ny", "\ud800", "=1+1", "@SUM(A1)", "<script>alert(1)",
    "[/red]", "background", "cat", "a" * 300, "http://[", "data:image/png;base64,AAAA",
)  # fmt: skip
TOKENS = (
    b"..", b"../../x", b"/etc/passwd", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"'",
    b"\r", b"\n", b",", b";", b"=", b"[" * 9000, b"{" * 50, b'{"a":' * 3000, b"1e999",
    b"NaN", b"9" * 5000, b"0x" + b"f" * 5000, b"\\ud800", b"null", b"[]", b"{}", b"-1",
    b"true", b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;", b"<a>" * 500, b"2024-99-99",
    b"\xc3", b"\x80\x04", b"#", b"=cmd", b"inf",
)  # fmt: skip


def scalars():
    numbers = st.sampled_from([0, -1, 1, 255, 256, 2**31, 2**63, 2**64, 10**400, 1e308])
    return (
        st.none()
        | st.booleans()
        | numbers
        | st.integers()
        | st.floats()
        | st.sampled_from(NAMES)
        | st.text(max_size=20)
    )


def values():
    return st.recursive(
        scalars(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
        ),
        max_leaves=6,
    )


@st.composite
def damaged(draw, *seeds):
    """Return a valid file with up to six places cut, changed or repeated."""
    content = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(content)))
        length = draw(st.sampled_from([0, 1, 2, 4, 16, 64]))
        new = draw(st.sampled_from(TOKENS) | st.binary(max_size=8))
        kind = draw(st.sampled_from(["put", "cut", "over", "twice", "bit"]))
        match kind:
            case "put":
                content = content[:at] + new + content[at:]
            case "cut":
                content = content[: at if length == 0 else len(content) - length]
            case "over":
                content = content[:at] + new + content[at + len(new) :]
            case "twice":
                content = content[:at] + content[at : at + length] * 2 + content[at:]
            case "bit" if at < len(content):
                flipped = content[at] ^ (1 << draw(st.integers(0, 7)))
                content = content[:at] + bytes([flipped]) + content[at + 1 :]
    return content


@st.composite
def changed(draw, seed):
    """Return a JSON value with up to four of its parts replaced, gone or renamed."""
    whole = json.loads(json.dumps(seed))
    for _ in range(draw(st.integers(1, 4))):
        parent, key = None, None
        node = whole
        while isinstance(node, dict | list) and node:
            keys = list(node) if isinstance(node, dict) else range(len(node))
            if parent is not None and draw(st.integers(0, 4)) == 0:
                break
            parent, key = node, draw(st.sampled_from(keys))
            node = parent[key]
        if parent is None:
            return draw(values())
        if draw(st.integers(0, 3)) == 0:
            parent.pop(key)
        else:
            parent[key] = draw(values())
    return whole if draw(st.integers(0, 30)) else draw(values())


def as_json(value):
    """JSON as bytes, halves of surrogate pairs as escapes and infinite numbers too."""
    return json.dumps(value).encode()


def json_files(seed):
    plain = as_json(seed)
    return changed(seed).map(as_json) | damaged(plain)


def fuzz(strategy, act):
    """Run an act on many inputs; only errors for people may come of it."""
    from tag2mask.errors import Tag2MaskError

    @HARD
    @given(strategy)
    def check(found):
        begun = time.process_time()
        with suppress(Tag2MaskError):
            act(found)
        assert time.process_time() - begun < MOST_SECONDS

    check()


@pytest.fixture
def root(tmp_path):
    """A folder in a folder; nothing may appear beside it."""
    folder = tmp_path / "deep" / "root"
    folder.mkdir(parents=True)
    yield folder
    assert [each.name for each in tmp_path.iterdir()] == ["deep"]
    assert [each.name for each in folder.parent.iterdir()] == ["root"]


def index(root, **keys):
    """List a data set as the first stage of a run does."""
    from tag2mask.config.load import load_data
    from tag2mask.stages.index import fingerprint, list_images

    data = load_data({"root": str(root)} | keys)
    fingerprint(data, list_images(data))


CSV = b'image,tags,split\na.jpg,cat;dog,train\n"b",cat,val\nsub/c,,train\n'


@pytest.mark.parametrize("name", ["tags.csv", "classes.txt"])
def test_a_folder_with_a_table(root, name):
    fakes.write_json_table(root)
    (root / "tags.csv").write_bytes(CSV)
    (root / "classes.txt").write_bytes(b"cat\ndog\n")
    seed = (root / name).read_bytes()

    def act(content):
        (root / name).write_bytes(content)
        index(root, layout="folder", classes="classes.txt")

    fuzz(damaged(seed) | st.lists(st.text()).map("\n".join).map(encoded), act)


def encoded(text):
    return text.encode("utf-8", "surrogatepass")


def test_a_table_of_captions(root):
    from tag2mask.data.captions import read_captions

    fakes.write_json_table(root)

    def act(content):
        (root / "captions.csv").write_bytes(content)
        read_captions(root)

    seed = b'image,caption,split\na.jpg,"a cat, a dog",train\nb,a cat,val\n'
    fuzz(damaged(seed), act)


EXPORTS = {
    "json": (fakes.write_json_table, "tags.json"),
    "label_studio": (fakes.write_label_studio, "label-studio.json"),
    "fiftyone": (fakes.write_fiftyone, "labels.json"),
    "coco": (fakes.write_coco, "annotations/instances_train2014.json"),
}


@pytest.mark.parametrize("layout", EXPORTS)
def test_layouts_in_json(root, layout):
    write, name = EXPORTS[layout]
    write(root)
    keys = {"layout": layout}
    if layout == "coco":
        place = {"annotations": name, "images": "train2014"}
        keys |= {"train": place, "masks": ""}

    def act(content):
        (root / name).write_bytes(content)
        index(root, **keys)

    fuzz(json_files(json.loads((root / name).read_text())), act)


def test_rows_of_metadata(root):
    fakes.write_image_folder(root)
    path = root / "train" / "metadata.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]

    def act(content):
        path.write_bytes(content)
        index(root, layout="image_folder")

    lines = changed(rows).map(
        lambda each: b"\n".join(map(as_json, each if isinstance(each, list) else [0]))
    )
    fuzz(lines | damaged(path.read_bytes()), act)


def test_tags_of_cvat(root):
    fakes.write_cvat(root)

    def act(content):
        (root / "annotations.xml").write_bytes(content)
        index(root, layout="cvat")

    fuzz(damaged(fakes.CVAT_XML.encode()), act)


@pytest.mark.parametrize("name", ["Annotations/2007_000032.xml", "train"])
def test_voc(root, name):
    fakes.write_voc(root)
    path = root / name
    path = path if path.suffix else root / "ImageSets" / "Segmentation" / "train.txt"

    def act(content):
        path.write_bytes(content)
        index(root, layout="voc", masks="", lists={"train": "train", "val": "val"})

    fuzz(damaged(path.read_bytes()), act)


def test_label_vectors(root):
    fakes.write_multi_hot(root)

    def act(content):
        (root / "cls_labels.npy").write_bytes(content)
        index(root, layout="multi_hot", classes=["a", "b", "c"], images="images",
              lists={"train": "train.txt", "val": "val.txt"}, masks="")  # fmt: skip

    seed = (root / "cls_labels.npy").read_bytes()
    fuzz(damaged(seed), act)


def test_masks_of_coco(root):
    from tag2mask import Runtime
    from tag2mask.stages.convert import write_coco_masks

    fakes.write_coco(root)
    path = root / "annotations" / "instances_train2014.json"
    seed = json.loads(path.read_text())
    one = Runtime(workers=1)

    def act(content):
        path.write_bytes(content)
        write_coco_masks(path, root / "out" / "masks", runtime=one)

    fuzz(json_files(seed), act)


def brush_tasks():
    from tag2mask.data.brush_code import encode_brush

    mask = np.zeros((6, 7), bool)
    mask[1:3, 2:5] = True
    found = fakes.task("/data/upload/1/0a1b2c3d-a.jpg")
    found["data"] |= {"name": "sub/a", "height": 6, "width": 7}
    found["annotations"][0]["result"] = [
        {
            "type": "brushlabels",
            "original_width": 7,
            "original_height": 6,
            "value": {"rle": encode_brush(mask), "brushlabels": ["cat"]},
        }
    ]
    return [found]


def test_masks_of_label_studio(root):
    from tag2mask import Runtime
    from tag2mask.stages.convert import write_label_studio_masks

    names = root / "classes.txt"
    names.write_text("cat\ndog\n")
    one = Runtime(workers=1)

    def act(content):
        path = root / "tasks.json"
        path.write_bytes(content)
        write_label_studio_masks(path, names, root / "out", runtime=one)

    fuzz(json_files(brush_tasks()), act)


def test_recipes(root, recipe_file):
    from tag2mask import load_recipe

    path = root / "recipe.toml"

    def act(content):
        path.write_bytes(content)
        load_recipe(path)

    fuzz(damaged(recipe_file.read_bytes()), act)


def test_overrides(load):
    texts = st.text(max_size=20) | st.sampled_from(NAMES)
    texts |= st.sampled_from([each.decode("latin1") for each in TOKENS])
    keys = st.sampled_from(
        ["data.layout", "segment.network", "segment.steps", "voters", "voters.a.seed",
         "voters.a.scales", "data", "predict.scales", "random_seed", "vote", "a.b.c"]
    )  # fmt: skip
    sets = st.builds(lambda key, value: f"{key}={value}", keys | texts, texts)
    sets |= st.builds(lambda key, value: f"{key}={json.dumps(value)}", keys, values())
    fuzz(st.lists(sets | texts, max_size=3), lambda found: load(*found))


def test_studies(root):
    from tag2mask.config.study_load import find_study, load_study

    path = root / "study.toml"
    shipped = sorted(find_study(Path("irnet")).parent.glob("*.toml"))

    def act(content):
        path.write_bytes(content)
        load_study(path)

    fuzz(damaged(*(each.read_bytes() for each in shipped)), act)


def test_words_of_classes(root):
    from tag2mask.data.classes import describe_classes, read_class_prompts

    known = describe_classes(("background", "cat", "aeroplane"), preset="clip_es")
    path = root / "classes.toml"

    def act(content):
        path.write_bytes(content)
        read_class_prompts(path, known)

    seed = b'[cat]\nnames = ["cat", "kitten"]\nbackground = ["sofa"]\n[aeroplane]\n'
    fuzz(damaged(seed), act)


def pictures(*kinds, mode="RGB"):
    """Small files of several formats."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (20, 30, 3), np.uint8)
    found = []
    for kind, options in kinds:
        stream = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(stream, format=kind, **options)
        found.append(stream.getvalue())
    return found


PNG, GREY = ("PNG", {}), ("PNG", {"optimize": True})
PHOTOS = (
    PNG,
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("WEBP", {}),
    ("BMP", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {}),
    ("GIF", {}),
)


def test_photographs(root):
    from tag2mask.pictures import decode_image, read_image

    path = root / "a.jpg"

    def act(content):
        path.write_bytes(content)
        with suppress_people():
            decode_image(content, most_pixels=1_000_000)
        read_image(path)

    fuzz(damaged(*pictures(*PHOTOS), *pictures(PHOTOS[6], mode="I")), act)


def suppress_people():
    from tag2mask.errors import Tag2MaskError

    return suppress(Tag2MaskError)


def test_label_maps_masks_and_saliency(root):
    from tag2mask.artifacts.labels import LabelFolder
    from tag2mask.artifacts.tables import ImageRecord
    from tag2mask.data.masks import MaskFolder
    from tag2mask.data.saliency import SaliencyFolder

    labels, masks, saliency = (make(root) for make in (LabelFolder, MaskFolder,
                                                       SaliencyFolder))  # fmt: skip
    image = ImageRecord("a", "a.png", 30, 20, (), "train")

    def act(content):
        (root / "a.png").write_bytes(content)
        with suppress_people():
            labels["a"]
        with suppress_people():
            masks.read("a", num_classes=21, size=(30, 20))
        saliency.read(image)

    grey = (*pictures(PNG, PHOTOS[1], mode="L"), *pictures(PNG, mode="1"))
    fuzz(damaged(*pictures(PNG, GREY, mode="P"), *grey), act)


def test_maps(root):
    import torch

    from tag2mask.artifacts.cams import Cams, read_cams, write_cams
    from tag2mask.artifacts.edges import read_edges, write_edges

    write_cams(root, "a", Cams(torch.rand(2, 3, 4), (1, 5)))
    write_edges(root, "b", torch.rand(3, 4))
    seeds = [(root / name).read_bytes() for name in ("a.npz", "b.npz")]
    stream = io.BytesIO()
    np.savez_compressed(stream, maps=np.zeros((1, 2, 2), np.float16), class_ids=[1])

    def act(content):
        (root / "x.npz").write_bytes(content)
        with suppress_people():
            read_edges(root, "x")
        read_cams(root, "x").best_at(9, 9)

    fuzz(damaged(*seeds, stream.getvalue()), act)


def test_cards(root, finished):
    from tag2mask.prediction import load_segmenter

    source = finished.folder("segment")
    weights = root / "weights.safetensors"
    weights.write_bytes((source / "weights.safetensors").read_bytes())

    def act(content):
        (root / "model.json").write_bytes(content)
        load_segmenter(root)

    fuzz(json_files(json.loads((source / "model.json").read_text())), act)


def test_weights(root, finished):
    from tag2mask.prediction import load_segmenter

    source = finished.folder("segment")
    (root / "model.json").write_bytes((source / "model.json").read_bytes())
    head = (source / "weights.safetensors").read_bytes()

    def act(content):
        (root / "weights.safetensors").write_bytes(content)
        load_segmenter(root)

    fuzz(damaged(head[:20_000], head), act)


def test_summaries(root, finished):
    from tag2mask.models.locate import locate_segmenter

    seed = json.loads(finished.summary.read_text())

    def act(content):
        (root / "summary.json").write_bytes(content)
        locate_segmenter(root)

    fuzz(json_files({key: seed[key] for key in ("recipe", "artifacts")}), act)


def test_reviews_and_logs(root):
    from tag2mask.data.review import Mark, ReviewFile
    from tag2mask.engine.training_log import read_log

    path = root / "review.jsonl"
    ReviewFile(path).append(Mark("a", "leave_out", ("cat",)))
    log = b"step,loss\n1,0.5\n2,0.25\n"

    def act(content):
        path.write_bytes(content)
        with suppress_people():
            ReviewFile(path).read()
        (root / "log.csv").write_bytes(content)
        read_log(root)

    fuzz(damaged(path.read_bytes(), log), act)


@pytest.fixture
def client(finished):
    from starlette.testclient import TestClient

    from tag2mask import Runtime
    from tag2mask.serve.app import make_app
    from tag2mask.serve.limits import Limits
    from tag2mask.serve.server import open_service
    from tag2mask.serve.task_images import TaskImages

    limits = Limits(upload_bytes=100_000, pixels=10_000)
    # nothing listens at the discard port
    images = TaskImages("http://127.0.0.1:9", None, limits.upload_bytes)
    service = open_service(
        finished.work, {}, limits=limits, task_images=images, runtime=Runtime(workers=1)
    )
    with TestClient(make_app(service), base_url="http://127.0.0.1") as found:
        yield found


def test_images_that_are_sent(client):
    kinds = st.sampled_from(
        ["image/png", "", "multipart/form-data", "multipart/form-data; boundary=x",
         "multipart/form-data; boundary=x; charset=none", "text/plain"]
    )  # fmt: skip
    form = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    bodies = damaged(*pictures(*PHOTOS), form + pictures(PNG)[0] + b"\r\n--x--\r\n")
    formats = st.sampled_from(["", "?format=rle", "?format=npz", "?format=x"])

    def act(found):
        kind, body, wanted = found
        headers = {"content-type": kind} if kind else {}
        answer = client.post(f"/predict{wanted}", content=body, headers=headers)
        assert answer.status_code < 500

    fuzz(st.tuples(kinds, bodies, formats), act)


def test_tasks_that_are_sent(client):
    config = (
        '<View><Image name="i" value="$image"/><BrushLabels name="t" toName="i">'
        '<Label value="boat"/></BrushLabels></View>'
    )
    task = {"id": 1, "data": {"image": "data:image/png;base64,AAAA"}}
    bodies = json_files({"tasks": [task], "label_config": config})
    paths = st.sampled_from(["predict", "predict", "setup", "webhook"])

    def act(found):
        path, body = found
        headers = {"content-type": "application/json"}
        answer = client.post(f"/label-studio/{path}", content=body, headers=headers)
        assert answer.status_code < 500

    fuzz(st.tuples(paths, bodies), act)


def test_addresses_and_headers(client, finished):
    marks = finished.work.parent / "world" / "review.jsonl"
    review = [
        f"/review{each}" for each in ("", "/images", "/photo", "/layer", "/marks")
    ]
    known = [
        *review,
        "/page/",
        "/model",
        "/healthz",
        "/label-studio/health",
        "/predict",
    ]
    text = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=12)
    odd = text | st.sampled_from(
        ["%00", "%2e%2e/", "..%2f..%2fetc/passwd", "val_00000", "train_00000", "²",
         "-1", "9" * 5000, "nan", "vote", "cam/../a", "Basic é", "Bearer", "Basic OmE="]
    )  # fmt: skip
    keys = ["tag", "marked", "offset", "limit", "image", "side", "layer", "format"]
    queries = st.dictionaries(st.sampled_from(keys), odd, max_size=3)
    names = ["accept", "authorization", "content-length", "content-type", "origin"]
    headers = st.dictionaries(st.sampled_from(names), odd, max_size=2)
    bodies = json_files({"image": "train_00000", "mark": "wrong"})
    methods = st.sampled_from(["GET", "POST", "HEAD", "PUT", "OPTIONS"])

    def act(found):
        method, path, tail, query, sent, body = found
        answer = client.request(
            method,
            path + quote(tail.replace("//", "/"), safe="/%"),
            params=query,
            headers=[
                (k.encode(), v.encode("latin1", "ignore")) for k, v in sent.items()
            ],
            content=body,
        )
        assert answer.status_code < 500
        assert not marks.exists()

    fuzz(
        st.tuples(methods, st.sampled_from(known), st.just("") | odd, queries, headers,
                  bodies), act)  # fmt: skip
