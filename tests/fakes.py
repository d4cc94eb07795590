"""Small data sets in the true layouts of published ones, from generated pictures."""

import json

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 12, 8
COCO_CATEGORIES = {1: "person", 7: "train", 13: "stop sign", 90: "toothbrush"}
"""With gaps, as the true ids have."""


def write_picture(path, seed=0):
    """Write a picture of noise, 12 x 8 pixels; JPEG, PNG and so on by its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def write_mask(path, value):
    """Write a palette PNG of background with a square of one class and a border."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[1:5, 1:5] = 255
    pixels[2:4, 2:4] = value
    picture = Image.fromarray(pixels)
    picture.putpalette(list(range(256)) * 3)
    picture.save(path)


VOC_OBJECT = """\
\t<object>
\t\t<name>{name}</name>
\t\t<pose>Unspecified</pose>
\t\t<truncated>0</truncated>
\t\t<difficult>{difficult}</difficult>
\t\t<bndbox>
\t\t\t<xmin>2</xmin>
\t\t\t<ymin>2</ymin>
\t\t\t<xmax>5</xmax>
\t\t\t<ymax>5</ymax>
\t\t</bndbox>{part}
\t</object>
"""
VOC_PART = """
\t\t<part>
\t\t\t<name>head</name>
\t\t\t<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>3</xmax><ymax>3</ymax></bndbox>
\t\t</part>"""
VOC_XML = """\
<annotation>
\t<folder>VOC2012</folder>
\t<filename>{name}.jpg</filename>
\t<source>
\t\t<database>The VOC2007 Database</database>
\t\t<annotation>PASCAL VOC2007</annotation>
\t\t<image>flickr</image>
\t</source>
\t<size>
\t\t<width>12</width>
\t\t<height>8</height>
\t\t<depth>3</depth>
\t</size>
\t<segmented>1</segmented>
{objects}</annotation>
"""


def voc_xml(name, objects):
    """Return an annotation; an object that ends in "?" is difficult."""
    text = [
        VOC_OBJECT.format(
            name=each.removesuffix("?"),
            difficult=int(each.endswith("?")),
            part=VOC_PART if each == "person" else "",
        )
        for each in objects
    ]
    return VOC_XML.format(name=name, objects="".join(text))


VOC_IMAGES = {
    "2007_000032": ("aeroplane", "aeroplane", "person"),
    "2007_000039": ("tvmonitor",),
    "2008_000002": ("cat", "dog?"),
    "2011_003276": ("sofa?",),
}
VOC_LISTS = {
    "train": ["2007_000032", "2007_000039"],
    "val": ["2011_003276"],
    "trainaug": ["2007_000032", "2007_000039", "2008_000002"],
}


def write_voc(root):
    """Write VOC 2012 with SBD's list: of four images three train, one validates."""
    lists = root / "ImageSets" / "Segmentation"
    for number, (name, objects) in enumerate(VOC_IMAGES.items()):
        write_picture(root / "JPEGImages" / f"{name}.jpg", number)
        xml = root / "Annotations" / f"{name}.xml"
        xml.parent.mkdir(exist_ok=True)
        xml.write_text(voc_xml(name, objects))
    for name, names in VOC_LISTS.items():
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f"{name}.txt").write_text("".join(f"{each}\n" for each in names))
    sbd = [
        f"/JPEGImages/{name}.jpg /SegmentationClassAug/{name}.png\n"
        for name in VOC_LISTS["trainaug"]
    ]
    (lists / "train_aug.txt").write_text("".join(sbd))
    for name, value in {"2007_000032": 1, "2007_000039": 20, "2011_003276": 18}.items():
        write_mask(root / "SegmentationClass" / f"{name}.png", value)
        write_mask(root / "SegmentationClassAug" / f"{name}.png", value)
    write_mask(root / "SegmentationClassAug" / "2008_000002.png", 8)
    return root


COCO_OBJECTS = {
    "train": {
        9: [(7, "square"), (1, "pair"), (7, "corner")],
        25: [(90, "crowd")],
        30: [],
    },
    "val": {42: [(13, "square")]},
}
"""Annotations by image id: category id and shape; an image without one."""


def coco_outline(shape):
    """Return ``segmentation``, ``area`` and ``iscrowd`` of an annotation."""
    if shape == "square":  # columns 2 to 7, rows 1 to 6
        return [[2, 1, 8, 1, 8, 7, 2, 7]], 36, 0
    if shape == "pair":  # two parts: columns 3 and 4, and 9 and 10; rows 2 to 4
        return [[3, 2, 5, 2, 5, 5, 3, 5], [9, 2, 11, 2, 11, 5, 9, 5]], 12, 0
    if shape == "corner":  # the last row and column
        return [[11, 7, 12, 7, 12, 8, 11, 8]], 1, 0
    # a run-length code goes down the columns: the first three columns are of the crowd
    counts = [0, 3 * HEIGHT, (WIDTH - 3) * HEIGHT]
    return {"counts": counts, "size": [HEIGHT, WIDTH]}, 3 * HEIGHT, 1


def coco_instances(objects, file_name):
    """Return an instances file with all that the published ones hold."""
    images = [
        {
            "license": 3,
            "file_name": file_name.format(number),
            "coco_url": "http://example.org",
            "height": HEIGHT,
            "width": WIDTH,
            "date_captured": "2013-11-14 17:02:52",
            "flickr_url": "http://example.org",
            "id": number,
        }
        for number in objects
    ]
    annotations = []
    for image, shapes in objects.items():
        for category, shape in shapes:
            outline, area, is_crowd = coco_outline(shape)
            annotations.append(
                {
                    "segmentation": outline,
                    "area": area,
                    "iscrowd": is_crowd,
                    "image_id": image,
                    "bbox": [1.0, 1.0, 2.0, 2.0],
                    "category_id": category,
                    "id": 900100000000 + len(annotations),
                }
            )
    # published files are not in the order of ids everywhere
    categories = [
        {"supercategory": "thing", "id": number, "name": name}
        for number, name in reversed(COCO_CATEGORIES.items())
    ]
    return {
        "info": {"year": 2014},
        "images": images,
        "licenses": [{"id": 3, "name": "none", "url": "http://example.org"}],
        "annotations": annotations,
        "categories": categories,
    }


def write_coco(root, year=2014):
    """Write COCO 2014 or 2017: three images train, one validates."""
    for split, objects in COCO_OBJECTS.items():
        prefix = f"COCO_{split}2014_" if year == 2014 else ""
        file_name = prefix + "{:012}.jpg"
        for number in objects:
            folder = root / f"{split}{year}"
            write_picture(folder / file_name.format(number), number)
        path = root / "annotations" / f"instances_{split}{year}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(coco_instances(objects, file_name)))
    return root


def change_json(path, change):
    """Read a JSON file, change its content in place and write it back."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def write_class_folders(root, *, with_splits=True):
    """Write a folder for each class; numbered from 1 in each, as such data often is."""
    for number, (split, name, file) in enumerate(
        [
            ("train", "cat", "001.jpg"),
            ("train", "cat", "sub/003.png"),
            ("train", "dog", "001.jpg"),
            ("val", "dog", "002.jpg"),
        ]
    ):
        folder = root / split / name if with_splits else root / name
        write_picture(folder / file, number)
    return root


JSON_ROWS = [
    {"image": "a.jpg", "tags": ["cat", "dog"], "split": "train", "source": "me"},
    {"image": "b", "tags": "dog; cat", "split": "val"},
    {"image": "sub/c", "tags": []},
]


def write_json_table(root, rows=JSON_ROWS, *, lines=False):
    """Write images and their tags as a JSON array, or as JSON Lines."""
    for number, name in enumerate(["a.jpg", "b.png", "sub/c.webp"]):
        write_picture(root / "images" / name, number)
    if lines:
        text = "".join(json.dumps(row) + "\n" for row in rows)
    else:
        text = json.dumps(rows, indent=1)
    (root / "tags.json").write_text(text)
    return root


def write_multi_hot(root, vectors=None):
    """Write VOC's images with lists and ``cls_labels.npy``, as the field shares them.

    ``vectors`` are by key; left out, the keys are the numbers of IRN's file.
    """
    if vectors is None:
        vectors = {
            2007000032: np.array([1, 0, 1], np.float32),
            2007000039: np.array([0, 1, 0], np.float32),
            2011003276: np.array([0, 0, 0], np.float32),
        }
    names = ["2007_000032", "2007_000039", "2011_003276"]
    for number, name in enumerate(names):
        write_picture(root / "images" / f"{name}.jpg", number)
    (root / "train.txt").write_text(f"{names[0]}\n{names[1]}\n")
    (root / "val.txt").write_text(f"/images/{names[2]}.jpg /masks/{names[2]}.png\n")
    np.save(root / "cls_labels.npy", vectors)
    return root


PICTURES = ("a.jpg", "b.png", "sub/c.webp")


def task(address, *choices, **keys):
    """Return a task of Label Studio with one annotation, its choices in one control."""
    value = {"choices": list(choices)}
    result = {"type": "choices", "from_name": "animal", "to_name": "image"}
    annotation = {"was_cancelled": False, "result": [result | {"value": value}]}
    return {"id": 1, "data": {"image": address}, "annotations": [annotation]} | keys


def label_studio_tasks():
    """Two annotators, a skipped annotation, nothing chosen, and an open task."""
    first = task("/data/upload/1/0a1b2c3d-a.jpg", "cat")
    first["annotations"] += task("", "dog")["annotations"]
    first["annotations"][1]["result"][0]["from_name"] = "second"
    skipped = task("", "emu")["annotations"][0] | {"was_cancelled": True}
    first["annotations"].append(skipped)
    second = task("s3://bucket/b.png")
    second["data"]["split"] = "val"
    second["annotations"][0]["result"] = []
    third = task("/data/local-files/?d=set/sub/c.webp", "dog")
    fourth = task("d.jpg") | {"annotations": []}
    return [first, second, third, fourth]


def write_label_studio(root, tasks=None):
    """Write images and what Label Studio exports as JSON."""
    for number, name in enumerate((*PICTURES, "d.jpg")):
        write_picture(root / "images" / name, number)
    content = label_studio_tasks() if tasks is None else tasks
    (root / "label-studio.json").write_text(json.dumps(content))
    return root


CVAT_XML = """\
<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><id>1</id><name>animals</name></task></meta>
  <image id="0" name="a.jpg" width="12" height="8">
    <tag label="cat" source="manual"></tag>
    <tag label="dog" source="manual"><attribute name="seen">yes</attribute></tag>
    <box label="emu" xtl="1" ytl="1" xbr="2" ybr="2" occluded="0"></box>
  </image>
  <image id="1" name="b.png" subset="val" width="12" height="8"></image>
  <image id="2" name="sub/c.webp" subset="train" width="12" height="8">
    <tag label="dog" source="manual"></tag>
  </image>
</annotations>
"""


def write_cvat(root):
    """Write images and what CVAT exports as "CVAT for images 1.1"."""
    for number, name in enumerate(PICTURES):
        write_picture(root / "images" / name, number)
    (root / "annotations.xml").write_text(CVAT_XML)
    return root


def write_image_folder(root):
    """Write splits as Hugging Face's ``imagefolder`` has them."""
    rows = {
        "train": [("a.jpg", ["cat", "dog"]), ("sub/c.webp", "dog")],
        "validation": [("b.png", [])],
    }
    for split, images in rows.items():
        lines = []
        for number, (file, tags) in enumerate(images):
            write_picture(root / split / file, number)
            lines.append(json.dumps({"file_name": file, "tags": tags}) + "\n")
        (root / split / "metadata.jsonl").write_text("".join(lines))
    return root


def write_fiftyone(root):
    """Write what FiftyOne exports as FiftyOneImageClassificationDataset."""
    for number, name in enumerate(PICTURES):
        write_picture(root / "data" / name, number)
    labels = {"a": 1, "b": [{"label": "cat", "confidence": 0.9}, 1], "sub/c": None}
    content = {"classes": ["cat", "dog"], "labels": labels}
    (root / "labels.json").write_text(json.dumps(content))
    return root
