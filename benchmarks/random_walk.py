"""Claim: `random_walk` needs no power of its matrix: far less time, and memory.

    python benchmarks/random_walk.py [--repeats N] [--device cpu|cuda]

At 64x64 it is compared with repeated squaring of the dense transition matrix, as the
field does it (8 products for 256 steps), both on the same single core; the matrix is
given, while ours includes its affinities. Then larger maps, whose dense matrices take
gigabytes: 94x125 with 3 classes is a photograph of PASCAL VOC at stride 4.

Prints JSON: median and quartiles in milliseconds, of processor time of the thread on a
CPU, which other work on the machine disturbs less than the clock, and of the clock;
memory is what one call adds to a fresh process at its peak, in MiB, which only Linux
can tell (null elsewhere).
"""

import argparse
import json
import multiprocessing
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torch.nn.functional as nnf

from revision import commit
from tag2mask.functional.random_walk import dense_transition, random_walk

STEPS = 256
SQUARINGS = 8  # 2 ** 8 = 256
SQUARED = 64, 64, 3
SHAPES = (SQUARED, (94, 125, 3), (160, 160, 6))
"""Rows, columns and classes."""


def make(height: int, width: int, num: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw score maps, and edges between smooth regions with a little noise."""
    coarse = torch.randn(1, 1, max(height // 12, 2), max(width // 12, 2))
    smooth = nnf.interpolate(coarse, size=(height, width), mode="bicubic")[0, 0]
    edges = (-(8 * smooth).square()).exp() + 0.02 * torch.rand(height, width)
    return torch.rand(num, height, width), edges.clamp(0, 1)


def square_repeatedly(matrix: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Walk by the power of the dense matrix."""
    for _ in range(SQUARINGS):
        matrix = matrix @ matrix
    return (matrix @ scores.flatten(1).T).T.reshape(scores.shape)


def timed(
    task: Callable[[], torch.Tensor], repeats: int, device: str
) -> dict[str, object]:
    """Run once to compile and warm up, then report the repeats."""
    clocks = {"clock_ms": time.perf_counter}
    if device == "cpu":
        clocks["cpu_ms"] = time.thread_time
    spent: dict[str, list[float]] = {name: [] for name in clocks}
    task().sum().item()
    for _ in range(repeats):
        begun = {name: clock() for name, clock in clocks.items()}
        task().sum().item()  # a GPU has finished when its sum is here
        for name, clock in clocks.items():
            spent[name].append(clock() - begun[name])
    return {name: quartiles(seconds) for name, seconds in spent.items()}


def quartiles(seconds: list[float]) -> dict[str, object]:
    """Median and the quartiles around it, in milliseconds."""
    low, median, high = 1000 * np.percentile(seconds, [25, 50, 75])
    return {"median": round(median, 2), "iqr": [round(low, 2), round(high, 2)]}


def resident(field: str) -> int:
    """KiB of memory of this process: ``VmRSS`` now, ``VmHWM`` at the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def added_peak(shape: tuple[int, int, int]) -> int | None:
    """MiB that one call adds to this process at its peak, compilation excluded."""
    torch.set_num_threads(1)
    scores, edges = make(*shape)
    random_walk(scores[:, :8, :8], edges[:8, :8], num_steps=1)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # forgets the earlier peak
    except OSError:
        return None
    before = resident("VmRSS")
    random_walk(scores, edges, num_steps=2)
    return round((resident("VmHWM") - before) / 1024)


def measure(
    shape: tuple[int, int, int], repeats: int, device: str
) -> dict[str, object]:
    """Time one size; the smallest against the power of the dense matrix."""
    scores, edges = (each.to(device) for each in make(*shape))
    row: dict[str, object] = {"height_width_classes": shape}
    walk = timed(lambda: random_walk(scores, edges, num_steps=STEPS), repeats, device)
    row["random_walk"] = walk
    if device == "cpu":
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            row["peak_mib"] = pool.apply(added_peak, (shape,))
    if shape == SQUARED:
        matrix = dense_transition(edges)
        dense = timed(lambda: square_repeatedly(matrix, scores), 3, device)
        row["repeated_squaring"] = dense
        unit = "cpu_ms" if device == "cpu" else "clock_ms"
        row["times_faster"] = round(dense[unit]["median"] / walk[unit]["median"], 1)
        ours = random_walk(scores, edges, num_steps=STEPS)
        theirs = square_repeatedly(matrix.double(), scores.double())
        row["largest_relative_difference"] = (
            ((ours - theirs) / theirs).abs().max().item()
        )
    return row


def main() -> None:
    """Print the figures of all sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    device = platform.processor() or platform.machine()
    if options.device == "cuda":
        device = torch.cuda.get_device_name()
    result = {
        "claim": "random walk by a stencil against repeated squaring, one thread",
        "commit": commit(),
        "device": device,
        "radius": 5,
        "beta": 10,
        "steps": STEPS,
        "repeats": options.repeats,
        "rows": [measure(each, options.repeats, options.device) for each in SHAPES],
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
