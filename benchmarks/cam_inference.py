"""Time activation maps: python benchmarks/cam_inference.py [WEIGHTS].

Compares the stage's way on a CPU (an image a thread, channels last, folded batch norms,
kept memory) with the field's (timm's network as it is, one image, one scale and
one mirror at a time, in float32) on the same weights and images, each in a process of
its own, in turn, and prints the greatest difference of the maps. Without a file the
weights are random.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from revision import commit
from tag2mask.engine.inference import activation_maps, to_batch
from tag2mask.engine.map_images import in_single_threads
from tag2mask.engine.runtime import default_workers, reuse_memory
from tag2mask.models.backbones import Backbone, make_backbone, timm
from tag2mask.models.cam_network import CamNetwork
from tag2mask.models.weights import load_backbone_weights

HEIGHT, WIDTH = 288, 384
SCALES = (0.5, 1.0, 1.5, 2.0)
ROUNDS = 3


def make(how: str, weights: str) -> CamNetwork:
    """Return the network, the same in every process; the field's is timm's own."""
    torch.manual_seed(0)
    name, normalisation = "mobilenetv2_100", {"mean": 0.5, "std": 0.5}
    if how == "side by side":
        options = {"pad_type": "same", **normalisation}
        backbone = make_backbone(
            name, weights=weights, output_stride=16, options=options
        )
    else:
        overlay = {key: (value,) * 3 for key, value in normalisation.items()}
        net = timm.create_model(
            name, output_stride=16, pad_type="same", pretrained_cfg_overlay=overlay
        )
        load_backbone_weights(net, weights, name=name)
        net.reset_classifier(0)
        backbone = Backbone(net, output_stride=16)
    torch.manual_seed(0)
    return CamNetwork(backbone, num_tags=20, dropout=0.0).eval()


def images(count: int) -> list[torch.Tensor]:
    """Draw smooth pictures, which is what networks see."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.random((count, 3, 9, 12), np.float32))
    smooth = torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bicubic")
    pixels = (255 * smooth.clamp(0, 1)).to(torch.uint8).permute(0, 2, 3, 1)
    return list(pixels.contiguous())


def maps(how: str, weights: str, count: int) -> tuple[float, np.ndarray]:
    """Return seconds per image and the maps."""
    network, pictures = make(how, weights), images(count)
    each_of: Callable[..., Iterator[torch.Tensor]] = map
    if how == "side by side":
        reuse_memory()
        network.to(memory_format=torch.channels_last)
        each_of = partial(in_single_threads, workers=default_workers())

    def read(picture: torch.Tensor) -> torch.Tensor:
        return activation_maps(
            network.logit_maps,
            to_batch([picture], torch.device("cpu")),
            scales=SCALES,
            flip=True,
            stride=4,
        )

    read(pictures[0])
    begun = time.perf_counter()
    found = torch.cat(list(each_of(read, pictures)))
    return (time.perf_counter() - begun) / count, found.numpy()


def main() -> None:
    """Print JSON: seconds an image of both ways, ratio and greatest difference."""
    parser = argparse.ArgumentParser()
    parser.add_argument("weights", nargs="?", default="none")
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--child", nargs=2, metavar=("HOW", "FILE"))
    given = parser.parse_args()
    if given.child:
        how, file = given.child
        seconds, found = maps(how, given.weights, given.images)
        np.save(file, found)
        print(seconds)
        return
    times: dict[str, list[float]] = {"one by one": [], "side by side": []}
    for _ in range(ROUNDS):
        for how, seconds in times.items():
            file = Path(f"cam_inference-{how[:3]}.npy")
            command = [sys.executable, __file__, given.weights]
            command += ["--images", str(given.images), "--child", how, str(file)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds.append(float(done.stdout))
    files = [Path(f"cam_inference-{how[:3]}.npy") for how in times]
    one, many = (np.load(file) for file in files)
    for file in files:
        file.unlink()
    medians = {how: statistics.median(each) for how, each in times.items()}
    record = {
        "commit": commit(),
        "device": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "seconds_per_image": {how: round(each, 3) for how, each in medians.items()},
        "ratio": round(medians["one by one"] / medians["side by side"], 2),
        "greatest_difference": float(np.abs(one - many).max()),
    }
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
