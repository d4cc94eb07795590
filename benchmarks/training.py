"""Time a training step on a CPU: python benchmarks/training.py.

MobileNetV2 with frozen batch norms, batch 16 of 256 px. ``unfolded`` computes the batch
norms as timm does, ``folded`` inside the convolutions (``models.folding``), ``reuse``
also keeps freed memory (``engine.runtime.reuse_memory``, under glibc). All are measured
in one run, each in a process of its own, in turn. Seconds are those of the clock, so
that nothing else should run; peaks are of the process, in MiB.
"""

import json
import platform
import resource
import statistics
import subprocess
import sys
import time

import torch

from revision import commit
from tag2mask.engine.runtime import reuse_memory
from tag2mask.models import backbones
from tag2mask.models.cam_network import CamNetwork, multi_label_loss

BATCH, SIDE, NUM_TAGS = 16, 256, 20
STEPS, ROUNDS = 6, 3


def milliseconds_per_image() -> list[float]:
    """Return the time of each step but the first, over the batch."""
    backbone = backbones.make_backbone(
        "mobilenetv2_100", weights="none", output_stride=16
    )
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
    """Print JSON: milliseconds an image of each way, their ratio, and peak memory."""
    times: dict[str, list[float]] = {"unfolded": [], "folded": [], "reuse": []}
    peaks = {}
    for _ in range(ROUNDS):
        for kind, found in times.items():
            command = [sys.executable, __file__, kind]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            measured, peaks[kind] = json.loads(done.stdout)
            found += measured
    medians = {kind: statistics.median(found) for kind, found in times.items()}
    quarters = {kind: statistics.quantiles(found) for kind, found in times.items()}
    record = {
        "commit": commit(),
        "device": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "ms_per_image": {kind: round(value, 1) for kind, value in medians.items()},
        "iqr": {kind: round(q[2] - q[0], 1) for kind, q in quarters.items()},
        "ratio": {
            "folding": round(medians["unfolded"] / medians["folded"], 2),
            "reuse": round(medians["folded"] / medians["reuse"], 2),
        },
        "peak_mib": peaks,
    }
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    if sys.argv[1:]:
        if sys.argv[1] == "reuse":
            reuse_memory()
        if sys.argv[1] == "unfolded":
            backbones.fold_batch_norms = lambda *_: 0
        times = milliseconds_per_image()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps([times, peak]))
    else:
        main()
