"""Layouts of tagged images on disk: each lists images, their tags and their split."""

from tag2mask.data.layouts.folder import list_folder
from tag2mask.data.layouts.listing import Listed, Listing
from tag2mask.data.layouts.voc import list_voc

__all__ = [
    "Listed",
    "Listing",
    "list_folder",
    "list_voc",
]
