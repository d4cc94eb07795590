"""Claim: `dense_crf` is 1.8 to 4 times as fast as pydensecrf2 and gives its labels.

    python benchmarks/crf.py [--image PATH] [--preset NAME] [--repeats N]
        [--images FOLDER [--tags tags.csv] [--limit N] [--agree N]]

Both run in turn on the same scores and the same 375x500 image, one thread each, with
the building of the lattices; then `dense_crf` on as many images at once as there are
threads, 1 or 2. Without ``--image``, a synthetic image of coloured blobs and noise.
pydensecrf2 is a reference for development (``pip install pydensecrf2``); without it,
its figures are left out.

With ``--images`` also the job that a user has: every image of a folder, or ``--limit``
of them, read and labelled on two cores. `dense_crf` gets background and the image's
tags (of ``--tags``, a table with the columns image, split and tags, of whose split
train the images then are; else two labels), in threads; pydensecrf2 gets 21 labels of
which the others score nothing, in processes. Then the share of equal labels of every
preset, on ``--agree`` of these images.

Prints JSON: median and quartiles in milliseconds of processor time of the thread, which
other work on the machine disturbs less than the clock, and of the clock; memory is what
one call adds to a fresh process at its peak, in MiB, which only Linux can tell (null
elsewhere).
"""

import argparse
import json
import multiprocessing
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torch.nn.functional as nnf
from PIL import Image

from revision import commit
from tag2mask.functional.crf import PRESETS, CrfPreset, dense_crf

SIZE = (375, 500)
NUM_VOC = 21
Crf = Callable[[torch.Tensor, torch.Tensor, CrfPreset], torch.Tensor]


def blobs(num: int, sides: tuple[int, int], size: tuple[int, int]) -> torch.Tensor:
    """Smooth random maps of standard deviation near 1."""
    coarse = torch.randn(1, num, *sides)
    return nnf.interpolate(coarse, size=size, mode="bicubic")[0]


def load_image(path: Path | None) -> torch.Tensor:
    """A photograph at the size of the benchmark, or coloured blobs with noise."""
    if path is None:
        smooth = 128 + 50 * blobs(3, (8, 10), SIZE) + 4 * torch.randn(3, *SIZE)
        return smooth.clamp(0, 255).byte().permute(1, 2, 0).contiguous()
    with Image.open(path) as image:
        resized = image.convert("RGB").resize(SIZE[::-1])
    return torch.from_numpy(np.array(resized))


def make_scores(num_labels: int, size: tuple[int, int] = SIZE) -> torch.Tensor:
    """Smooth regions with noise on their pixels."""
    noise = torch.randn(num_labels, *size)
    return (3 * blobs(num_labels, (8, 10), size) + 0.7 * noise).softmax(dim=0)


def ours(scores: torch.Tensor, image: torch.Tensor, preset: CrfPreset) -> torch.Tensor:
    """What is measured."""
    return dense_crf(scores, image, preset=preset)


def theirs(
    scores: torch.Tensor, image: torch.Tensor, preset: CrfPreset
) -> torch.Tensor:
    """What it is measured against."""
    from pydensecrf import densecrf

    num_labels, height, width = scores.shape
    field = densecrf.DenseCRF2D(width, height, num_labels)
    unary = -scores.clamp_min(1e-5).log().flatten(1).numpy()
    field.setUnaryEnergy(np.ascontiguousarray(unary))
    field.addPairwiseGaussian(sxy=preset.spatial_sxy, compat=preset.spatial_weight)
    field.addPairwiseBilateral(
        sxy=preset.bilateral_sxy,
        srgb=preset.bilateral_srgb,
        rgbim=image.numpy(),
        compat=preset.bilateral_weight,
    )
    marginals = np.array(field.inference(preset.iterations))
    return torch.from_numpy(marginals).reshape(scores.shape)


def quartiles(seconds: list[float]) -> dict[str, object]:
    """Median and the quartiles around it, in milliseconds."""
    low, median, high = 1000 * np.percentile(seconds, [25, 50, 75])
    return {"median": round(median, 1), "iqr": [round(low, 1), round(high, 1)]}


def resident(field: str) -> int:
    """KiB of memory of this process: ``VmRSS`` now, ``VmHWM`` at the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def added_peak(
    crf: Crf, scores: torch.Tensor, image: torch.Tensor, preset: CrfPreset
) -> int | None:
    """MiB that one call adds to this process at its peak, compilation excluded."""
    crf(scores[:, :8, :8].contiguous(), image[:8, :8].contiguous(), preset)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # forgets the earlier peak
    except OSError:
        return None
    before = resident("VmRSS")
    crf(scores, image, preset)
    return round((resident("VmHWM") - before) / 1024)


def two_threads(
    case: tuple[torch.Tensor, torch.Tensor, CrfPreset], repeats: int
) -> dict[str, object]:
    """What one thread and two get done, in turn.

    By the clock where the cores are idle; by processor time, which tells what the
    threads cost each other, where they are not.
    """

    def call(_number: int) -> float:
        start = time.thread_time()
        ours(*case)
        return time.thread_time() - start

    clock: dict[int, list[float]] = {1: [], 2: []}
    cpu: dict[int, list[float]] = {1: [], 2: []}
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(2) as two:
        for _ in range(repeats):
            for threads in clock:
                start = time.perf_counter()
                pool = one if threads == 1 else two
                cpu[threads] += list(pool.map(call, range(4)))
                clock[threads].append((time.perf_counter() - start) / 4)
    return {
        "images_per_second": [
            round(1 / float(np.median(s)), 2) for s in clock.values()
        ],
        "speed_up": round(float(np.median(np.divide(clock[1], clock[2]))), 2),
        "speed_up_by_cpu": round(2 * float(np.median(cpu[1]) / np.median(cpu[2])), 2),
    }


def measure(
    crfs: dict[str, Crf],
    case: tuple[torch.Tensor, torch.Tensor, CrfPreset],
    repeats: int,
) -> dict[str, object]:
    """Time both in turn, so that a slow moment of the machine hits both."""
    seconds: dict[str, list[float]] = {name: [] for name in crfs}
    clock: dict[str, list[float]] = {name: [] for name in crfs}
    labels = {name: crf(*case).argmax(dim=0) for name, crf in crfs.items()}
    for _ in range(repeats):
        for name, crf in crfs.items():
            start, start_clock = time.thread_time(), time.perf_counter()
            crf(*case)
            seconds[name].append(time.thread_time() - start)
            clock[name].append(time.perf_counter() - start_clock)
    row: dict[str, object] = {"labels": len(case[0])}
    row["two_threads"] = two_threads(case, repeats)
    spawn = multiprocessing.get_context("spawn")
    for name, crf in crfs.items():
        with spawn.Pool(1) as pool:
            peak = pool.apply(added_peak, (crf, *case))
        row[name] = {
            "cpu_ms": quartiles(seconds[name]),
            "clock_ms": quartiles(clock[name]),
            "peak_mib": peak,
        }
    if "pydensecrf2" in crfs:
        ratios = np.divide(seconds["pydensecrf2"], seconds["tag2mask"])
        row["times_faster"] = round(float(np.median(ratios)), 2)
        same = labels["tag2mask"] == labels["pydensecrf2"]
        row["equal_labels"] = round(same.float().mean().item(), 6)
    return row


def main() -> None:
    """Print the figures of both numbers of labels, and of the job."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", type=Path)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="seeds")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--tags", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--agree", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    crfs: dict[str, Crf] = {"tag2mask": ours}
    try:
        import pydensecrf.densecrf  # noqa: F401
    except ImportError:
        pass
    else:
        crfs["pydensecrf2"] = theirs
    image = load_image(options.image)
    preset = PRESETS[options.preset]
    rows = [
        measure(crfs, (make_scores(num), image, preset), options.repeats)
        for num in (5, NUM_VOC)
    ]
    result: dict[str, object] = {
        "claim": "dense_crf against pydensecrf2, one thread, lattices included",
        "commit": commit(),
        "device": platform.processor() or platform.machine(),
        "image": options.image.name if options.image else "synthetic",
        "size": SIZE,
        "preset": options.preset,
        "iterations": preset.iterations,
        "repeats": options.repeats,
        "rows": rows,
    }
    if options.images is not None:
        from crf_job import agreement, list_tasks, whole_job

        tasks = list_tasks(options)
        result["whole_job"] = whole_job(tasks, "pydensecrf2" in crfs)
        if "pydensecrf2" in crfs:
            result["equal_labels"] = agreement(tasks[: options.agree])
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
