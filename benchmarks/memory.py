"""Peak memory of stages at 200 and at 2,000 images: python benchmarks/memory.py.

Claim: index, seed, vote and evaluate hold a few images at a time however many there
are. What grows are the names: the listing and the index keep some 1 kB an image.

Each stage runs in a process of its own, with two workers, on a few generated images of
128 px that have many names; its peak is what Linux calls VmHWM.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from revision import commit
from tag2mask import config
from tag2mask.artifacts.cams import STRIDE, Cams, write_cams
from tag2mask.artifacts.labels import LabelFolder, write_labels
from tag2mask.artifacts.tables import Index
from tag2mask.data.masks import MaskFolder
from tag2mask.engine.runtime import Runtime
from tag2mask.stages import evaluate, evaluate_vote, index, seed, vote

SIZES = (200, 2000)
STAGES = ("index", "seed", "vote", "evaluate")
SIDE = 128
NUM_CLASSES = 21
NUM_DISTINCT = 8
NUM_VOTERS = 4
THRESHOLD = 0.3


def make_world(root: Path, num_images: int) -> None:
    """Write what the stages read; images of equal content are links to one file."""
    generator = np.random.default_rng(0)
    names = [f"{number:05d}" for number in range(num_images)]
    noise = generator.integers(0, 256, (NUM_DISTINCT, SIDE, SIDE, 3), np.uint8)
    blocks = generator.integers(0, NUM_CLASSES, (NUM_DISTINCT, 4, 4), np.uint8)
    classes = [f"class {number}" for number in range(1, NUM_CLASSES)]
    rows = ["image,tags"]
    for number, name in enumerate(names):
        which = number % NUM_DISTINCT
        tags = sorted(set(blocks[which].ravel().tolist()) - {0})[:3]
        rows.append(f"{name},{';'.join(classes[tag - 1] for tag in tags)}")
        first = names[which]
        if number < NUM_DISTINCT:
            (root / "images").mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise[which]).save(root / "images" / f"{name}.png")
            labels = torch.from_numpy(blocks[which].repeat(SIDE // 4, 0))
            labels = labels.repeat_interleave(SIDE // 4, 1)
            for folder in ("masks", *voters()):
                write_labels(root / folder, name, labels)
            maps = torch.rand(len(tags), SIDE // STRIDE, SIDE // STRIDE)
            write_cams(root / "cams", name, Cams(maps, tuple(tags)))
            continue
        for folder in ("images", "masks", *voters()):
            os.link(root / folder / f"{first}.png", root / folder / f"{name}.png")
        os.link(root / "cams" / f"{first}.npz", root / "cams" / f"{name}.npz")
    (root / "tags.csv").write_text("\n".join(rows) + "\n")
    (root / "classes.txt").write_text("\n".join(classes) + "\n")


def voters() -> list[str]:
    """Name the folders of label maps."""
    return [f"voter{number}" for number in range(NUM_VOTERS)]


def run_stage(stage: str, root: Path) -> None:
    """Run one stage over a world; the index is made first."""
    runtime = Runtime(workers=2)
    table = Index(root / "index", root)
    out = root / stage
    if stage == "index":
        data = config.FolderData(root=root, masks="masks", classes="classes.txt")
        index.run(data, index.list_images(data), out, runtime=runtime)
    elif stage == "seed":
        settings = config.Seeding(crf_shrink=2)
        seed.run(
            table, root / "cams", settings, out, threshold=THRESHOLD, runtime=runtime
        )
    elif stage == "vote":
        electors = [vote.Elector(LabelFolder(root / name)) for name in voters()]
        vote.run(table, electors, config.Vote(), out, runtime=runtime)
    else:
        masks = MaskFolder(root / "masks")
        truth = evaluate.Truth(table.images, masks, table.class_names)
        labels = LabelFolder(root / "voter0")
        evaluate.score_labels(labels, truth, config.Evaluate(), runtime=runtime)
        evaluate.score_cams(root / "cams", truth, {"fixed": THRESHOLD}, runtime=runtime)
        evaluate_vote.score_support(
            root / "vote", truth, num_voters=NUM_VOTERS, runtime=runtime
        )


def peak_megabytes() -> float:
    """Return the peak of this process's own memory, not of what started it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1000
    raise RuntimeError("this system does not tell VmHWM; the benchmark needs Linux")


def measure(root: Path, num_images: int) -> dict[str, float]:
    """Return the peak of each stage in megabytes."""
    make_world(root, num_images)
    peaks = {}
    for stage in STAGES:
        command = [sys.executable, __file__, "--stage", stage, "--root", str(root)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        peaks[stage] = float(done.stdout)
    return peaks


def main() -> None:
    """Print the peaks as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--stage", choices=STAGES)
    parser.add_argument("--root", type=Path)
    options = parser.parse_args()
    if options.stage:
        run_stage(options.stage, options.root)
        print(peak_megabytes())
        return
    peaks = {}
    for num_images in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            peaks[num_images] = measure(Path(folder), num_images)
    few, many = (peaks[num_images] for num_images in SIZES)
    result = {
        "benchmark": "memory",
        "commit": commit(),
        "device": f"{platform.machine()} CPU, two workers",
        "side": SIDE,
        "classes": NUM_CLASSES,
        "images": SIZES,
        "peak_megabytes": {stage: [few[stage], many[stage]] for stage in STAGES},
        "growth_kilobytes_per_image": {
            stage: round(1000 * (many[stage] - few[stage]) / (SIZES[1] - SIZES[0]), 2)
            for stage in STAGES
        },
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
