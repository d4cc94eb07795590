"""A recipe as text, in the form in which people write it."""

import json
import re
from collections.abc import Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_text(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """Return a recipe as TOML; keys without a value are left out, TOML has no null.

    Args:
        table: JSON values; keys of tables come after all others, as TOML wants it.
        path: Keys that lead to this table.
    """
    plain, below = [], []
    for key, value in table.items():
        if isinstance(value, Mapping):
            below.append(toml_text(value, (*path, key)))
        elif value is not None:
            plain.append(f"{_key(key)} = {json.dumps(value, ensure_ascii=False)}")
    if plain and path:
        plain.insert(0, f"[{'.'.join(map(_key, path))}]")
    return "\n\n".join(filter(None, ["\n".join(plain), *below]))


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False)
