"""Time a training step with and without kept memory: python benchmarks/training.py.

Claim: on a CPU under glibc, ``engine.runtime.reuse_memory`` saves a third of a step of
MobileNetV2 with frozen batch norms, batch 16 of 256 px. Both are measured in one run,
each in a process of its own, in turn.
"""

import json
import platform
import statistics
import subprocess
import sys
import time

import torch

from tag2mask.engine.runtime import reuse_memory
from tag2mask.models.backbones import make_backbone
from tag2mask.models.cam_network import CamNetwork, multi_label_loss

BATCH, SIDE, NUM_TAGS = 16, 256, 20
STEPS, ROUNDS = 6, 3


def milliseconds_per_image() -> list[float]:
    """Return the time of each step but the first, over the batch."""
    backbone = make_backbone("mobilenetv2_100", weights="none", output_stride=16)
    backbone.freeze(batch_norm=True, parts=[])
    network = CamNetwork(backbone, num_tags=NUM_TAGS, dropout=0.3).train()
    network.to(memory_format=torch.channels_last)
    images = torch.rand(BATCH, 3, SIDE, SIDE).to(memory_format=torch.channels_last)
    tags = (torch.rand(BATCH, NUM_TAGS) > 0.9).float()
    times = []
    for _ in range(STEPS + 1):
        begun = time.perf_counter()
        network.zero_grad()
        multi_label_loss(network(images), tags).backward()
        times.append(1000 * (time.perf_counter() - begun) / BATCH)
    return times[1:]


def main() -> None:
    """Print JSON: milliseconds an image, plain and with kept memory, and the ratio."""
    times: dict[str, list[float]] = {"plain": [], "reuse": []}
    for _ in range(ROUNDS):
        for kind, found in times.items():
            command = [sys.executable, __file__, kind]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found += json.loads(done.stdout)
    medians = {kind: statistics.median(found) for kind, found in times.items()}
    quarters = {kind: statistics.quantiles(found) for kind, found in times.items()}
    commit = ["git", "describe", "--always", "--dirty"]
    record = {
        "commit": subprocess.run(
            commit, capture_output=True, text=True, check=False
        ).stdout.strip(),
        "device": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "ms_per_image": {kind: round(value, 1) for kind, value in medians.items()},
        "iqr": {kind: round(q[2] - q[0], 1) for kind, q in quarters.items()},
        "ratio": round(medians["plain"] / medians["reuse"], 2),
    }
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    if sys.argv[1:]:
        if sys.argv[1] == "reuse":
            reuse_memory()
        print(json.dumps(milliseconds_per_image()))
    else:
        main()
