"""Small data sets in the true layouts of published ones, from generated pictures."""

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
