"""Time an exported segmenter: python benchmarks/exported.py [MODEL].

Compares PyTorch eager (the network as it predicts here: one scale, channels last,
folded batch norms, resized and argmax) with ONNX Runtime on the exported file, in one
process with one thread each, in turn, on one photograph-like image. Without a model
the network is that of voc-mini with random weights.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from revision import commit
from tag2mask import config
from tag2mask.deploy import Predictor
from tag2mask.engine.runtime import reuse_memory
from tag2mask.export.onnx_model import export_onnx
from tag2mask.export.pictures import draw_picture
from tag2mask.models.backbones import make_backbone
from tag2mask.models.locate import locate_segmenter
from tag2mask.models.segmenters import (
    Segmenter,
    load_segmenter,
    make_network,
)
from tag2mask.stages.predict import predict_labels

_CLASSES = 21
_WARM_UP = 3


def make() -> Segmenter:
    """Return the network of recipes/voc-mini.toml, its weights random."""
    table = config.load_recipe(Path("voc-mini")).segment
    torch.manual_seed(0)
    backbone = make_backbone(
        table.backbone,
        weights="none",
        output_stride=table.output_stride,
        dilate=table.dilate,
        options=table.backbone_options,
    )
    network = make_network(
        backbone,
        table.network,
        num_classes=_CLASSES,
        rates=table.rates,
        neck=table.neck,
    )
    card = {"network": table.network, "backbone": table.backbone}
    names = tuple(str(number) for number in range(_CLASSES))
    return Segmenter(network.eval(), names, card)


def time_once(call: Callable[[], object]) -> tuple[float, float]:
    """Return the milliseconds of a call, by the clock and of the processor."""
    begun, begun_cpu = time.perf_counter(), time.process_time()
    call()
    ended, ended_cpu = time.perf_counter(), time.process_time()
    return 1000 * (ended - begun), 1000 * (ended_cpu - begun_cpu)


def quartiles(times: list[list[float]]) -> list[list[float]]:
    """Return the quartiles of each list."""
    return [[round(q, 1) for q in statistics.quantiles(each, n=4)] for each in times]


def main() -> None:
    """Print JSON: quartiles of both in milliseconds, and the ratio of their medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?")
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--presence", type=float, default=0.0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    reuse_memory()
    model = (
        load_segmenter(locate_segmenter(given.model).folder) if given.model else make()
    )
    image = draw_picture(given.size, given.size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        exported = export_onnx(model, path, presence=given.presence, int8=given.int8)
        predictor = Predictor(path, threads=1)
    pixels, device = torch.from_numpy(image), torch.device("cpu")
    settings = config.Predict(presence=given.presence)
    model.network.to(memory_format=torch.channels_last)
    calls: dict[str, Callable[[], object]] = {
        "torch": lambda: predict_labels(model.network, pixels, settings, device),
        "onnxruntime": lambda: predictor.predict(image),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for number in range(_WARM_UP + given.rounds):
        for name, call in calls.items():
            spent = time_once(call)
            if number >= _WARM_UP:
                times[name].append(spent)
    clock = quartiles([[spent for spent, _ in each] for each in times.values()])
    cpu = quartiles([[spent for _, spent in each] for each in times.values()])
    record = {
        "commit": commit(),
        "device": f"{platform.machine()}, 1 thread",
        "model": f"{model.card.get('network')} on {model.card.get('backbone')}",
        "size": given.size,
        "int8": given.int8,
        "milliseconds": dict(zip(times, clock, strict=True)),
        "ratio": round(clock[0][1] / clock[1][1], 2),
        # of one thread it is what the clock says where nothing else runs
        "processor milliseconds": dict(zip(times, cpu, strict=True)),
        "processor ratio": round(cpu[0][1] / cpu[1][1], 2),
        "float32": exported.float32._asdict(),
        "int8 agreement": exported.int8 and exported.int8._asdict(),
    }
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
