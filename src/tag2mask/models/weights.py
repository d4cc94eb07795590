"""Weights on disk: read without running code, and checked before they are used."""

import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from tag2mask.artifacts.files import whole_file
from tag2mask.errors import ModelError

_NO_PICKLE = (
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
)
"""What the unpickler makes of a file that is none of torch's."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a safetensors or a pth file.

    Raises:
        ModelError: If the file is missing or is no file of tensors, naming it.
    """
    if not path.is_file():
        raise ModelError(
            f"there is no weights file {path.absolute()}; `weights` is 'hub', 'none' "
            f"or a path relative to the current folder"
        )
    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():  # of a pickle protocol that it may refuse
            warnings.simplefilter("ignore", UserWarning)
            saved = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        if "GLOBAL" in str(error).rpartition("WeightsUnpickler error")[2]:
            raise ModelError(
                f"{path} holds more than tensors and is not loaded, since that could "
                f"run code; save its state_dict as safetensors"
            ) from None
        raise _unreadable(path, "it is no file of torch.save") from None
    except (SafetensorError, RuntimeError, OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    except _NO_PICKLE:
        raise _unreadable(path, "it is no file of torch.save") from None
    return _state_dict(saved, path)


def _unreadable(path: Path, reason: object) -> ModelError:
    return ModelError(
        f"{path} cannot be read as weights ({reason}); get the file again, as "
        f"safetensors or as a pth with a state dict"
    )


def _state_dict(saved: object, path: Path) -> dict[str, Tensor]:
    """Find the state dict in what common trainers save around it."""
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(saved, Mapping) and isinstance(saved.get(key), Mapping):
            saved = saved[key]
    if (
        not isinstance(saved, Mapping)
        or not saved
        or not all(
            isinstance(key, str) and isinstance(value, Tensor)
            for key, value in saved.items()
        )
    ):
        raise ModelError(
            f"{path} holds no state dict of tensors; save the network's state_dict()"
        )
    return dict(saved)


def load_backbone_weights(net: nn.Module, weights: str, *, name: str) -> None:
    """Load a file into a timm model; its classifier may be of any size or absent.

    ``hub`` and ``none`` load nothing here.

    Raises:
        ModelError: If the file's keys or shapes are those of another network.
    """
    if weights in ("hub", "none"):
        return
    found = read_weights(Path(weights))
    head = tuple(_classifier_names(net))
    expected = net.state_dict()
    ours = {key for key in expected if not key.startswith(head)}
    theirs = {key for key in found if not key.startswith(head)}
    check_keys(Path(weights), name, missing=ours - theirs, extra=theirs - ours)
    _check_shapes(Path(weights), name, expected, {key: found[key] for key in theirs})
    net.load_state_dict({key: found[key] for key in theirs}, strict=False)


def check_keys(path: Path, name: str, *, missing: set[str], extra: set[str]) -> None:
    """Raise unless both sets are empty, counters of batch norms aside.

    Raises:
        ModelError: Naming the first keys that are missing or unknown.
    """
    # batch norms folded into convolutions leave no counter behind
    missing = {key for key in missing if not key.endswith("num_batches_tracked")}
    if missing or extra:
        raise ModelError(
            f"{path} is not of {name}: {len(missing)} keys are missing"
            f"{_few(missing)}, {len(extra)} are unknown{_few(extra)}"
        )


def _check_shapes(
    path: Path, name: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> None:
    for key, tensor in found.items():
        if tensor.shape != expected[key].shape:
            raise ModelError(
                f"{path} is not of {name}: {key} has shape {list(tensor.shape)}, "
                f"expected {list(expected[key].shape)}"
            )


def load_module(
    module: nn.Module, path: Path, *, name: str, part: str | None = None
) -> None:
    """Load weights that ``save_module`` wrote, strictly.

    Args:
        module: Gets the weights.
        path: File of safetensors.
        name: What the module is, for messages.
        part: Attribute of the saved module that ``module`` is like; None: all of it.

    Raises:
        ModelError: If they are of another network.
    """
    prefix = f"{part}." if part else ""
    found = {
        key.removeprefix(prefix): value
        for key, value in read_weights(path).items()
        if key.startswith(prefix)
    }
    expected = module.state_dict()
    check_keys(
        path, name, missing=set(expected) - set(found), extra=set(found) - set(expected)
    )
    _check_shapes(path, name, expected, found)
    module.load_state_dict(found, strict=False)


def save_module(module: nn.Module, path: Path) -> None:
    """Write a module's weights as safetensors, whole or not at all."""
    tensors = {
        # a copy each, since safetensors refuses tensors that share memory
        key: value.detach().cpu().contiguous().clone()
        for key, value in module.state_dict().items()
    }
    with whole_file(path) as scratch:
        # its own writer reports a full disk by an error that is no OSError
        scratch.write_bytes(save(tensors))


def _classifier_names(net: nn.Module) -> list[str]:
    settings = getattr(net, "pretrained_cfg", {})
    names = settings.get("classifier") or "classifier"
    return [f"{each}." for each in ([names] if isinstance(names, str) else names)]


def _few(keys: set[str]) -> str:
    return f" ({', '.join(sorted(keys)[:3])}{', …' if len(keys) > 3 else ''})" * bool(
        keys
    )
