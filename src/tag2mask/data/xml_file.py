"""Read XML that others wrote, without what XML can do harm by."""

from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree


class _RefusedError(Exception):
    """The XML says what no annotation needs to say."""


class _Tree(ElementTree.TreeBuilder):
    """Refuses declarations: entities that expand are how XML does harm."""

    def doctype(self, *_: object) -> NoReturn:
        raise _RefusedError("it has a DOCTYPE, which an annotation needs not")


def read_xml(path: Path) -> ElementTree.Element:
    """Return the root of a file.

    Raises:
        OSError: If the file is missing or cannot be read.
        ValueError: If it is no XML, or has a DOCTYPE, saying why.
    """
    try:
        tree = ElementTree.parse(path, ElementTree.XMLParser(target=_Tree()))
    except (ElementTree.ParseError, LookupError, _RefusedError) as error:
        raise ValueError(str(error)) from None
    return tree.getroot()
