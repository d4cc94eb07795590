"""Time a training step of CA-CL: python benchmarks/ca_cl_step.py [--device cuda].

CLIP ViT-B/32 at full size and a ResNet-50, both with random weights: what is timed does
not depend on them. Ours: text vectors computed before, frozen weights, foregrounds and
backgrounds of all pairs in one batch. The ancestors': the prompts of the batch's
positive classes encoded each step (77 tokens each, to which CLIP's own tokenizer pads
and CLIMS's program leaves them), image-text weights not frozen, foregrounds encoded
once for each of the two losses. Same losses, same images. Prints JSON: seconds a step
of each, their ratio, and the process's peak memory. Needs the extra `clip`.

`--tags 4 --images 15 --ours` is a batch of COCO's 60 pairs; with `--at-once 8` memory
is bounded by 8 of them.
"""

import argparse
import json
import platform
import resource
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch.nn.functional import interpolate

from revision import commit
from tag2mask import config
from tag2mask.functional.clip_losses import ca_cl_losses
from tag2mask.functional.image_text_pairs import (
    find_pairs,
    foreground_and_background,
    maps_of_pairs,
)
from tag2mask.models.backbones import make_backbone
from tag2mask.models.cam_network import CamNetwork
from tag2mask.models.image_text.clip import Clip
from tag2mask.models.image_text.hub import import_transformers
from tag2mask.stages.localize_text import with_gate
from tag2mask.stages.prompts import TextVectors
from tag2mask.stages.text_losses import compare, make_losses

NUM_CLASSES, NUM_CONTEXTS, NUM_WORDS = 20, 4, 5
TOKENS = 77


class Tokens(dict[str, torch.Tensor]):
    """What a tokenizer returns."""

    def __getattr__(self, name: str) -> torch.Tensor:
        return self[name]

    def to(self, device: torch.device) -> "Tokens":
        """Return them on a device."""
        return Tokens({name: each.to(device) for name, each in self.items()})


class Tokenizer:
    """Texts of one length, whatever they say."""

    def __call__(self, texts: list[str], **_: object) -> Tokens:
        """Return random tokens."""
        ids = torch.randint(1000, 40_000, (len(texts), TOKENS))
        ids[:, -1] = 49_407
        return Tokens(input_ids=ids, attention_mask=torch.ones_like(ids))

    def get_vocab(self) -> dict[str, int]:
        """Return no words."""
        return {}


def make_teacher(precision: Any) -> Clip:
    """Return CLIP ViT-B/32 at full size."""
    library = import_transformers()
    torch.manual_seed(0)
    network = library.CLIPModel(library.CLIPConfig()).eval()
    return Clip(
        network, Tokenizer(), preprocessing={}, name="random", precision=precision
    )


def prompts_of(teacher: Clip, classes: int, *, grad: bool) -> TextVectors:
    """Encode all prompts of some classes."""
    count = classes * NUM_CONTEXTS * (1 + NUM_WORDS)
    texts = [f"a photo of {number}." for number in range(count)]
    with torch.set_grad_enabled(grad):
        found = torch.nn.functional.normalize(teacher._encode(texts), dim=1)
    parts = found.view(classes, NUM_CONTEXTS * (1 + NUM_WORDS), -1)
    return TextVectors(
        parts[:, :NUM_CONTEXTS],
        parts[:, NUM_CONTEXTS:],
        torch.ones(classes, dtype=torch.bool, device=found.device),
        ("",) * NUM_CONTEXTS,
    )


def ancestors_losses(voter: config.CaCl, teacher: Clip) -> Callable[..., Any]:
    """Return the same losses, made the ancestors' way."""
    mean, std = (
        torch.tensor(each).view(3, 1, 1) for each in (teacher.mean, teacher.std)
    )

    def losses(network: Any, batch: dict[str, torch.Tensor], step: int) -> Any:
        del step
        images, side = batch["image"], teacher.image_size
        maps = network(images)
        pairs = find_pairs(batch["tags"] > 0)
        small = interpolate(images, (side, side), mode="bilinear", antialias=True)
        pictures = foreground_and_background(
            (small - mean.to(small.device)) / std.to(small.device),
            maps_of_pairs(maps, pairs, size=side),
            pairs.images,
        )
        classes, places = pairs.classes.unique(return_inverse=True)
        vectors = prompts_of(teacher, len(classes), grad=True)
        foreground, background = pictures.chunk(2)
        once = teacher.encode_images(foreground)
        behind = teacher.encode_images(background)
        again = teacher.encode_images(foreground)
        own = pairs._replace(classes=places)
        first, _ = compare(torch.cat([once, behind]), own, vectors)
        second, _ = compare(torch.cat([again, behind]), own, vectors)
        found = first._replace(
            foreground_to_backgrounds=second.foreground_to_backgrounds
        )
        gate = network.gate(found.foreground_to_backgrounds.detach(), pairs.classes)
        return SimpleNamespace(
            terms={"total": ca_cl_losses(found, gate, maps, margin=voter.margin).total}
        )

    return losses


def time_steps(
    losses: Callable[..., Any], network: Any, batch: Any, rounds: int
) -> float:
    """Return the median seconds of a forward and a backward pass."""
    seconds = []
    for step in range(rounds + 1):
        network.zero_grad(set_to_none=True)
        begun = time.perf_counter()
        sum(losses(network, batch, step).terms.values()).backward()
        if batch["image"].is_cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[1:])


def measure(given: argparse.Namespace, precision: Any) -> dict[str, float]:
    """Return the seconds of both ways and their ratio."""
    device = torch.device(given.device)
    voter = config.CaCl(method="ca_cl", pairs_at_once=given.at_once)
    backbone = make_backbone("resnet50", weights="none", output_stride=16)
    cam = CamNetwork(backbone, num_tags=NUM_CLASSES, dropout=0.0)
    network = with_gate(cam, voter, num_contexts=NUM_CONTEXTS).to(device).train()
    torch.manual_seed(0)
    images = torch.rand(given.images, 3, given.crop, given.crop, device=device)
    tags = torch.zeros(given.images, NUM_CLASSES, device=device)
    for row in range(given.images):
        number = given.tags or 1 + row % 2
        tags[row, torch.randperm(NUM_CLASSES)[:number]] = 1
    batch = {"image": images, "tags": tags}
    teacher = make_teacher(precision).to(device)
    vectors = prompts_of(teacher, NUM_CLASSES, grad=False)
    losses = make_losses(voter, teacher, vectors, backbone)
    ours = time_steps(losses, network, batch, given.rounds)
    if given.ours:
        return {"ours": round(ours, 3)}
    teacher.requires_grad_(True)
    losses = ancestors_losses(voter, teacher)
    theirs = time_steps(losses, network, batch, given.rounds)
    return {
        "ours": round(ours, 3),
        "ancestors": round(theirs, 3),
        "ratio": round(theirs / ours, 2),
    }


def main() -> None:
    """Print JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--crop", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5, help="after one to warm up")
    parser.add_argument("--precision", nargs="+", default=["32", "bf16"])
    parser.add_argument(
        "--tags", type=int, help="of each image; 1 and 2 in turn unless said, as in VOC"
    )
    parser.add_argument("--at-once", type=int, default=64, help="pairs_at_once")
    parser.add_argument("--ours", action="store_true", help="leave the ancestors out")
    given = parser.parse_args()
    record = {
        "commit": commit(),
        "device": f"{given.device}, {platform.machine()}, {torch.get_num_threads()} "
        f"threads",
        "batch": f"{given.images} images of {given.crop} px",
        "seconds_per_step": {each: measure(given, each) for each in given.precision},
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
