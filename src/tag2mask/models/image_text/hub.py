"""Models and tokenizers of transformers, from the hub or a local folder."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from tag2mask._torchvision import import_torchvision
from tag2mask.errors import ModelError

_REFUSALS = (OSError, ValueError, LookupError, TypeError, RuntimeError, SafetensorError)
"""What transformers raises where files are missing, damaged or of something else."""


def import_transformers(
    *, needed_by: str = "the image-text models clip and conse", extra: str = "clip"
) -> Any:  # noqa: ANN401
    """Return the library.

    Args:
        needed_by: What the user has asked for, in the plural.
        extra: Of this package, that brings the library.

    Raises:
        ModelError: If it is not installed.
    """
    import_torchvision()
    try:
        import transformers
    except ImportError:
        raise ModelError(
            f"{needed_by} need transformers; install it with "
            f'pip install "tag2mask[{extra}]"'
        ) from None
    return transformers


def load_config(name: str) -> Any:  # noqa: ANN401
    """Read what kind of model ``name``, a folder or a name on the hub, is.

    Raises:
        ModelError: If it cannot be had.
    """
    transformers = import_transformers()
    return _load(transformers.AutoConfig.from_pretrained, name, "configuration")


def load_network(
    loader: Any,  # noqa: ANN401
    name: str,
    config: Any,  # noqa: ANN401
    *,
    unused: tuple[str, ...] = (),
) -> Any:  # noqa: ANN401
    """Load weights, complete and from safetensors only, as float32.

    Args:
        loader: Class of transformers.
        name: Folder or name on the hub.
        config: From ``load_config``.
        unused: Prefixes of keys that may be missing.

    Raises:
        ModelError: If they cannot be had or are not all there.
    """
    network, report = _load(
        loader.from_pretrained,
        name,
        "weights in safetensors files, the only ones that cannot run code",
        config=config,
        dtype=torch.float32,
        use_safetensors=True,
        output_loading_info=True,
    )
    missing = sorted(
        key for key in report["missing_keys"] if not key.startswith(unused)
    )
    if missing:
        raise ModelError(
            f"the weights of {name} lack {len(missing)} keys of a "
            f"{loader.__name__} ({', '.join(missing[:3])}); get its files again"
        )
    return network


def load_tokenizer(name: str, *, num_embeddings: int) -> Any:  # noqa: ANN401
    """Load a tokenizer and see that it fits.

    Args:
        name: Folder or name on the hub.
        num_embeddings: Tokens that the model knows.

    Raises:
        ModelError: If there is none or it is of another model.
    """
    transformers = import_transformers()
    tokenizer = _load(transformers.AutoTokenizer.from_pretrained, name, "tokenizer")
    ids = tokenizer("a photo of a cat").input_ids
    # a tokenizer without its files is empty instead of an error
    if set(ids) <= set(tokenizer.all_special_ids):
        raise ModelError(
            f"{name} holds no tokenizer; add its files (tokenizer.json, or vocab.json "
            f"and merges.txt, or vocab.txt) as save_pretrained of the tokenizer does"
        )
    largest = max(tokenizer.get_vocab().values())
    if largest >= num_embeddings:
        raise ModelError(
            f"the tokenizer of {name} has tokens up to {largest}, but the model knows "
            f"{num_embeddings}: they are of two models; get its files again"
        )
    return tokenizer


def read_hub_json(name: str, *files: str) -> dict[str, Any]:
    """Return the first of some JSON files that is there, else an empty dict.

    Raises:
        ModelError: If the file cannot be read.
    """
    from transformers.utils import cached_file

    def find(name: str, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        for file in files:
            path = cached_file(
                name,
                file,
                _raise_exceptions_for_missing_entries=False,
                _raise_exceptions_for_connection_errors=False,
                **options,
            )
            if path is not None:
                found = json.loads(Path(path).read_text(encoding="utf-8"))
                return found if isinstance(found, dict) else {}
        return {}

    read: dict[str, Any] = _load(find, name, files[0])
    return read


def _load(load: Callable[..., Any], name: str, part: str, **options: Any) -> Any:  # noqa: ANN401
    """Call a loader of transformers, with errors that say what to do."""
    is_local = Path(name).is_dir()
    if not is_local and (Path(name).is_absolute() or name.startswith((".", "~"))):
        raise ModelError(
            f"there is no folder {Path(name).absolute()}; expected a model's name on "
            f"the hub, such as openai/clip-vit-base-patch32, or a folder that "
            f"save_pretrained wrote"
        )
    try:
        with _quietly(show_downloads=not is_local):
            return load(name, local_files_only=is_local, **options)
    except _REFUSALS as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        if is_local:
            raise ModelError(
                f"the folder {name} holds no {part} that can be read ({reason}); get "
                f"its files again, as save_pretrained writes them"
            ) from None
        raise ModelError(
            f"{name} is no folder here, and its {part} cannot be had from the hub "
            f"({reason}); check the name and the connection, or name a local folder"
        ) from None


@contextmanager
def _quietly(*, show_downloads: bool) -> Iterator[None]:
    """Keep progress of loading and what is checked here anyway off the terminal."""
    from transformers.utils import logging

    level, is_shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if not show_downloads:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if is_shown:
            logging.enable_progress_bar()
