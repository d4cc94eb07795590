"""A segmenter as a folder of the Hugging Face hub: weights, card, and how it scored."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tag2mask.artifacts.files import whole_file
from tag2mask.errors import DatasetError
from tag2mask.models.hub import README, checked_name, push_model
from tag2mask.models.locate import Located, locate_segmenter
from tag2mask.models.segmenters import CARD, WEIGHTS, load_segmenter
from tag2mask.pipeline.score_table import number, protocol_words
from tag2mask.prediction import predict_settings

_MOST_CLASSES = 50
_SPECIAL = r"\`*_{}[]<>#|!$~"


def write_hub_folder(model: Path | str, out: Path, *, name: str = "OWNER/NAME") -> Path:
    """Write model.json, weights.safetensors and README.md.

    Args:
        model: What ``predict_files`` takes; of a run the scores come along.
        out: Folder that is empty or not there.
        name: On the hub, as the README's command says it.

    Returns:
        The folder.

    Raises:
        DatasetError: If the folder holds files.
        ModelError: If there is no such model.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DatasetError(f"{out} is not empty; choose another folder, or delete it")
    found = locate_segmenter(model)
    text = model_readme(found, name)
    for file in (CARD, WEIGHTS):
        with whole_file(out / file) as scratch:
            shutil.copyfile(found.folder / file, scratch)
    with whole_file(out / README) as scratch:
        scratch.write_text(text, encoding="utf-8")
    return out


def push_to_hub(model: Path | str, name: str, *, private: bool = False) -> str:
    """Upload a segmenter to OWNER/NAME on the hub; return its page.

    Raises:
        ModelError: If there is no such model, or the hub refuses.
    """
    checked_name(name)
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_hub_folder(model, Path(scratch, "model"), name=name)
        return push_model(folder, name, private=private)


def model_readme(model: Located, name: str) -> str:
    """Return the model card: what it is, how it scored and by which protocol."""
    segmenter = load_segmenter(model.folder)
    card = segmenter.card
    classes = segmenter.class_names
    more = f", and {len(classes) - _MOST_CLASSES} more" if len(classes) > 50 else ""
    presence = predict_settings(model.protocol).presence
    option = f" --presence {presence:g}" if presence else ""
    lines = [
        "---",
        "library_name: tag2mask",
        "pipeline_tag: image-segmentation",
        "tags: [semantic-segmentation, weakly-supervised]",
        "---",
        "",
        f"# {_text(name)}",
        "",
        "A semantic segmenter, trained by tag2mask from image-level tags."
        if not _uses_truth(model)
        else "A semantic segmenter. Ground-truth masks took part in training it.",
        "",
        f"- Network: {_text(card['network'])}, "
        f"{_text(card.get('backbone', card.get('variant', '')))}, "
        f"initialised from {_text(card.get('init', 'unknown weights'))}",
        f"- Classes: {', '.join(map(_text, classes[:_MOST_CLASSES]))}{more}",
        "",
        "## Use",
        "",
        "```console",
        "pip install tag2mask",
        f"tag2mask predict hub:{name} images/ --out masks{option}",
        "```",
        "",
        "Masks are index PNGs: a pixel's number is its class's place above, from 0.",
        "",
        "## Scores",
        "",
        *_scores(model.run),
    ]
    return "\n".join([*lines, ""])


def _uses_truth(model: Located) -> bool:
    rows = _rows(model.run)
    return any(row["protocol"]["uses_truth"] for row in rows)


def _rows(run: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """Return the scores of the segmenter: those on images it was not trained on."""
    scores: Sequence[Mapping[str, Any]] = run["scores"] if run else ()
    return [score for score in scores if score["stage"] == "predict"]


def _scores(run: Mapping[str, Any] | None) -> list[str]:
    rows = _rows(run)
    if not rows:
        return ["None are known: this model was not scored where it was exported."]
    columns = ("subject", "mIoU %", "95 % interval", "split", "protocol", "initialised")
    lines = [_row(columns), _row(["---"] * len(columns))]
    for score in rows:
        protocol = score["protocol"]
        interval = score.get("interval")
        lines.append(
            _row(
                (
                    score["subject"],
                    number(score["miou"], 1),
                    f"{interval[0]:.1f}-{interval[1]:.1f}" if interval else "",
                    protocol["split"],
                    ", ".join(protocol_words(protocol)),
                    f"{protocol['init']}, random seed {protocol['random_seed']}",
                )
            )
        )
    lines += ["", "Per class, IoU in %:", ""]
    names = [_text(str(score["subject"])) for score in rows]
    lines += ["| class | " + " | ".join(names) + " |"]
    lines += [_row(["---"] * (len(rows) + 1))]
    for name in rows[0]["per_class"]:
        values = [number(score["per_class"].get(name), 1) for score in rows]
        lines.append(_row((name, *values)))
    return lines


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_text(str(cell)) for cell in cells) + " |"


def _text(value: str) -> str:
    """Return text that Markdown shows as it is: names are anybody's."""
    escaped = "".join(f"\\{each}" if each in _SPECIAL else each for each in str(value))
    return " ".join(escaped.split())
