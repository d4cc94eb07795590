"""``classes.toml``: names and background words of classes, for a user to edit."""

import json
import re
import tomllib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tag2mask.artifacts.files import whole_file
from tag2mask.data.classes.names import nearest
from tag2mask.data.classes.prompts import ClassPrompts, without_classes
from tag2mask.errors import DatasetError

_KEYS = ("names", "background")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_HEADER = """\
# What the image-text model is told of each class.
#   names        what goes into the {} of a template; several share one prompt
#   background   what surrounds the class and is no part of it, likeliest first
# A class or a key that is not here keeps what tag2mask knows of it.
"""


def read_class_prompts(
    path: Path, known: Sequence[ClassPrompts]
) -> tuple[ClassPrompts, ...]:
    """Read what a user says of classes; blanks around a word do not count.

    A background word may name another class of the data: that is for the user to
    decide. It may not name its own, which it would suppress.

    Args:
        path: Of a file as ``write_class_prompts`` writes it.
        known: All classes of the data, with what holds where the file is silent;
            background words among it that mention a name in the file are left out.

    Returns:
        The classes of ``known``, in their order.

    Raises:
        DatasetError: If the file cannot be read or is no TOML; or with a line for each
            class that is none, unknown key, or word that is empty, no text or there
            twice.
    """
    table = _read(path)
    classes = {each.tag: each for each in known}
    problems: list[str] = []
    for tag, entry in table.items():
        if tag not in classes:
            wrong = [f" is no class of the data{nearest(tag, list(classes))}"]
        elif not (wrong := list(_problems(entry))):
            classes[tag] = _merge(classes[tag], entry)
            wrong = list(_repetitions(classes[tag], entry))
        problems += [f"[{_key(tag)}]{each}" for each in wrong]
    if problems:
        heading = f"{path}: {len(problems)} problems with the classes:"
        raise DatasetError("\n  ".join([heading, *problems]))
    return tuple(
        each
        if "background" in table.get(tag, {})
        else replace(
            each, background=without_classes(each.background, classes.values())
        )
        for tag, each in classes.items()
    )


def write_class_prompts(path: Path, classes: Iterable[ClassPrompts]) -> None:
    """Write what is said of classes for a user to edit, whole or not at all."""
    with whole_file(path) as scratch:
        scratch.write_text(
            f"{_HEADER}\n{format_class_prompts(classes)}", encoding="utf-8"
        )


def format_class_prompts(classes: Iterable[ClassPrompts]) -> str:
    """Return what is said of classes as TOML, a table for each."""
    return "\n".join(
        f"[{_key(each.tag)}]\n"
        f"names = {_array(each.names)}\n"
        f"background = {_array(each.background)}\n"
        for each in classes
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DatasetError(f"there is no file of classes {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from None
    except (ValueError, RecursionError) as error:  # also of numbers without end
        raise DatasetError(f"{path} is not TOML: {error}") from None


def _problems(entry: object) -> Iterator[str]:
    """Yield what is wrong with the table of one class, apart from repeated words."""
    if not isinstance(entry, dict):
        yield f': expected a table with names = ["..."], got {entry!r}'
        return
    for key, words in entry.items():
        if key not in _KEYS:
            hint = nearest(key, _KEYS) or f"; there are {' and '.join(_KEYS)}"
            yield f": there is no key {key!r}{hint}"
        elif not isinstance(words, list):
            yield f'.{key}: expected a list such as ["sky"], got {words!r}'
        elif key == "names" and not words:
            yield ".names: a class needs a name; leave the key out for its own"
        else:
            yield from (
                f".{key}: expected words in quotes, got {word!r}"
                for word in words
                if not isinstance(word, str) or not word.strip()
            )


def _merge(known: ClassPrompts, entry: Mapping[str, list[str]]) -> ClassPrompts:
    """Put what the file says of a class over what is known of it."""
    said = {key: tuple(word.strip() for word in entry[key]) for key in entry}
    return ClassPrompts(
        known.tag,
        said.get("names", known.names),
        said.get("background", known.background),
    )


def _repetitions(said: ClassPrompts, keys: Container[str]) -> Iterator[str]:
    """Yield each word that a class has twice, if the file is to blame."""
    seen = set()
    words = (*said.names, *(said.background if "background" in keys else ()))
    for word in words:
        if word.casefold() in seen:
            yield f": {word!r} is there twice, names and background taken together"
        seen.add(word.casefold())


def _key(tag: str) -> str:
    return tag if _BARE_KEY.fullmatch(tag) else _quoted(tag)


def _array(words: Iterable[str]) -> str:
    return f"[{', '.join(_quoted(word) for word in words)}]"


def _quoted(text: str) -> str:
    # JSON's escapes are TOML's, but for the one control character that JSON allows
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
