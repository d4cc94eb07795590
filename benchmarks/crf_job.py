"""The part of benchmarks/crf.py that labels a folder of images."""

import argparse
import csv
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as nnf
from PIL import Image

from crf import NUM_VOC, ours, resident, theirs
from tag2mask.engine.runtime import reuse_memory
from tag2mask.functional.crf import PRESETS, CrfPreset, scores_from_labels
from tag2mask.functional.seeding import labels_from_scores


class Task(NamedTuple):
    """An image of the job, the number of its labels, and how to label it."""

    path: Path
    num_labels: int
    preset: CrfPreset
    seed: int


def task_inputs(task: Task) -> tuple[torch.Tensor, torch.Tensor]:
    """The image at its own size, and scores of its labels."""
    with Image.open(task.path) as image:
        pixels = torch.from_numpy(np.array(image.convert("RGB")))
    generator = torch.Generator().manual_seed(task.seed)
    coarse = 3 * torch.randn(1, task.num_labels, 8, 10, generator=generator)
    maps = nnf.interpolate(coarse, size=pixels.shape[:2], mode="bicubic")[0]
    return maps.softmax(dim=0), pixels


class Labelled(NamedTuple):
    """The labels of an image, and the processor time that they took."""

    labels: torch.Tensor
    cpu: float


def label_ours(task: Task) -> Labelled:
    """Only the labels that can matter."""
    start = time.thread_time()
    marginals = ours(*task_inputs(task), task.preset)
    labels = labels_from_scores(marginals, range(task.num_labels))
    return Labelled(labels, time.thread_time() - start)


def label_theirs(task: Task) -> Labelled:
    """All 21 labels, as the field's code has it."""
    torch.set_num_threads(1)
    start = time.thread_time()
    scores, pixels = task_inputs(task)
    everything = torch.zeros(NUM_VOC, *scores.shape[1:])
    everything[: len(scores)] = scores
    marginals = theirs(everything, pixels, task.preset)
    labels = torch.from_numpy(marginals.numpy().argmax(axis=0).astype(np.uint8))
    return Labelled(labels, time.thread_time() - start)


class Total:
    """What some images took, by the clock and of the processors."""

    def __init__(self) -> None:
        self.clock = self.cpu = 0.0
        self.images = 0

    def run(
        self, pool: Executor, label: Callable[[Task], Labelled], tasks: list[Task]
    ) -> list[torch.Tensor]:
        """Label some images, and add what they took."""
        start = time.perf_counter()
        found = list(pool.map(label, tasks))
        self.clock += time.perf_counter() - start
        self.cpu += sum(each.cpu for each in found)
        self.images += len(tasks)
        return [each.labels for each in found]

    def figures(self) -> dict[str, float]:
        """Per second of the clock, and processor time per image."""
        return {
            "images_per_second": round(self.images / self.clock, 2),
            "cpu_ms_per_image": round(1000 * self.cpu / self.images, 1),
        }


def whole_job(tasks: list[Task], with_theirs: bool) -> dict[str, object]:
    """Both in turn, 16 images at a time, on two cores each.

    Freed memory is kept in this process, as the commands of tag2mask keep it.
    """
    reuse_memory()
    spawn = multiprocessing.get_context("spawn")
    mine, reference, same, pixels = Total(), Total(), 0, 0
    with ThreadPoolExecutor(2) as threads, ProcessPoolExecutor(2, spawn) as processes:
        label_ours(tasks[0])  # what is imported and compiled is not measured
        if with_theirs:
            list(processes.map(label_theirs, 4 * tasks[:2]))
        for start in range(0, len(tasks), 16):
            some = tasks[start : start + 16]
            labels = mine.run(threads, label_ours, some)
            if with_theirs:
                others = reference.run(processes, label_theirs, some)
                for first, second in zip(labels, others, strict=True):
                    same += int((first == second).sum())
                    pixels += first.numel()
    row: dict[str, object] = {
        "labels_per_image": round(float(np.mean([t.num_labels for t in tasks])), 2),
        "images": len(tasks),
        "peak_resident_mib": round(resident("VmHWM") / 1024),
        "tag2mask": mine.figures(),
    }
    if with_theirs:
        row["pydensecrf2"] = reference.figures()
        row["times_faster"] = round(reference.clock / mine.clock, 2)
        row["times_less_cpu"] = round(reference.cpu / mine.cpu, 2)
        row["equal_labels"] = round(same / pixels, 6)
    return row


def agreement(tasks: list[Task]) -> dict[str, float]:
    """Share of labels that equal those of pydensecrf2, for every preset."""
    found = {}
    for name, preset in PRESETS.items():
        same, pixels = 0, 0
        for task in tasks:
            scores, image = task_inputs(task._replace(num_labels=4))
            if name == "irnet":
                scores = scores_from_labels(scores.argmax(dim=0), range(4))
            labels = [crf(scores, image, preset).argmax(0) for crf in (ours, theirs)]
            same += int((labels[0] == labels[1]).sum())
            pixels += labels[0].numel()
        found[name] = round(same / pixels, 6)
    return found


def list_tasks(options: argparse.Namespace) -> list[Task]:
    """Images of the folder, evenly spaced if there are more than ``--limit``."""
    files = {path.name: 2 for path in sorted(options.images.iterdir())}
    if options.tags is not None:
        with options.tags.open(encoding="utf-8") as stream:
            rows = [row for row in csv.DictReader(stream) if row["split"] == "train"]
        files = {row["image"]: 1 + len(row["tags"].split(";")) for row in rows}
    names = list(files)
    if options.limit and options.limit < len(names):
        chosen = np.linspace(0, len(names) - 1, options.limit).astype(int)
        names = [names[index] for index in chosen]
    preset = PRESETS[options.preset]
    return [
        Task(options.images / name, files[name], preset, seed)
        for seed, name in enumerate(names)
    ]
