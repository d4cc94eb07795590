"""Layouts of tagged images on disk: each lists images, their tags and their split."""

from tag2mask.data.layouts.class_folders import list_class_folders
from tag2mask.data.layouts.coco import Instances, list_coco
from tag2mask.data.layouts.cvat import list_cvat
from tag2mask.data.layouts.fiftyone import list_fiftyone
from tag2mask.data.layouts.folder import list_folder
from tag2mask.data.layouts.guess import guess_layout
from tag2mask.data.layouts.image_folder import list_image_folder
from tag2mask.data.layouts.json_table import list_json
from tag2mask.data.layouts.label_studio import list_label_studio
from tag2mask.data.layouts.listing import Listed, Listing
from tag2mask.data.layouts.multi_hot import list_multi_hot
from tag2mask.data.layouts.voc import list_voc

__all__ = [
    "Instances",
    "Listed",
    "Listing",
    "guess_layout",
    "list_class_folders",
    "list_coco",
    "list_cvat",
    "list_fiftyone",
    "list_folder",
    "list_image_folder",
    "list_json",
    "list_label_studio",
    "list_multi_hot",
    "list_voc",
]
