"""Load a server: python benchmarks/serve.py [--seconds 60] [--clients 32].

Claim: 32 clients of a MobileNetV2 segmenter get no error but 429; /healthz answers
within 100 ms at the 99th percentile meanwhile; memory does not grow; and at least 0.8
times as many images a second are answered as the same model predicts in a plain loop.

The server is `tag2mask serve` in a process of its own, asked over loopback; the loop
runs in another process before and after it, never at the same time. Weights are random:
the time does not depend on them.
"""

import argparse
import http.client
import io
import json
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from revision import commit
from tag2mask import config
from tag2mask.data.images import decode_image
from tag2mask.engine.runtime import default_workers, reuse_memory
from tag2mask.models.backbones import make_backbone
from tag2mask.models.segmenters import WEIGHTS, load_segmenter, make_network, write_card
from tag2mask.models.weights import save_module
from tag2mask.stages.predict import predict_labels

SIDE = 384
NUM_CLASSES = 21
NUM_PICTURES = 8
BACKBONE = "mobilenetv2_100"
WARM_UP = 3


class Load(NamedTuple):
    """What the clients saw."""

    statuses: Counter[int]
    seconds: list[float]
    health: list[float]
    megabytes: list[float]


def write_model(folder: Path) -> None:
    """Write a segmenter of MobileNetV2's size."""
    torch.manual_seed(0)
    backbone = make_backbone(BACKBONE, weights="none", output_stride=16)
    network = make_network(backbone, "deeplab_v2", num_classes=NUM_CLASSES)
    save_module(network, folder / WEIGHTS)
    names = ["background", *(f"class {n}" for n in range(1, NUM_CLASSES))]
    card = {
        "network": "deeplab_v2",
        "rates": None,
        "backbone": BACKBONE,
        "backbone_options": {},
        "output_stride": 16,
        "dilate": True,
        "class_names": names,
        "init": "random",
    }
    write_card(folder, card)


def pictures() -> list[bytes]:
    """Return JPEGs of smooth noise."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(NUM_PICTURES):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
        stream = io.BytesIO()
        coarse.resize((SIDE, SIDE * 3 // 4), Image.Resampling.BICUBIC).save(
            stream, format="JPEG"
        )
        found.append(stream.getvalue())
    return found


def loop(folder: Path, seconds: float) -> float:
    """Return images a second of a plain loop over decoded predictions."""
    reuse_memory()
    network = load_segmenter(folder).network
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    files, settings, cpu = pictures(), config.Predict(), torch.device("cpu")

    def predict(data: bytes) -> None:
        pixels = torch.from_numpy(decode_image(data, most_pixels=SIDE * SIDE))
        predict_labels(network, pixels, settings, cpu)

    for data in files[:WARM_UP]:
        predict(data)
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        predict(files[count % len(files)])
        count += 1
    return count / (time.perf_counter() - begun)


def measure_loop(folder: Path, seconds: float) -> float:
    """Run the loop in a process of its own."""
    command = [sys.executable, __file__, "--loop", str(folder)]
    command += ["--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


class Server:
    """`tag2mask serve` on a free port."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "tag2mask.cli", "serve", str(folder)]
        self.process = subprocess.Popen(
            [*command, "--port", "0", "--device", "cpu"],
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline() if self.process.stdout else ""
        found = re.search(r"http://([\d.]+):(\d+)/", line)
        if found is None:
            raise RuntimeError(f"the server did not start: {line}")
        self.address = found[1], int(found[2])

    def megabytes(self) -> float:
        """Return its resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1000

    def end(self) -> int:
        """Tell it to end; return its exit status."""
        self.process.terminate()
        return self.process.wait(timeout=120)


def ask(server: Server, load: Load, until: float, number: int) -> None:
    """Post pictures one after another; wait as long as a 429 says."""
    connection = http.client.HTTPConnection(*server.address, timeout=120)
    files = pictures()
    headers = {"Content-Type": "image/jpeg", "Accept": "image/png"}
    while time.perf_counter() < until:
        begun = time.perf_counter()
        connection.request("POST", "/predict", files[number % len(files)], headers)
        answer = connection.getresponse()
        answer.read()
        load.statuses[answer.status] += 1
        if answer.status == 200:
            load.seconds.append(time.perf_counter() - begun)
        elif answer.status == 429:
            connection.close()
            time.sleep(min(1.0, float(answer.headers["Retry-After"])))
        number += 1
    connection.close()


def watch(server: Server, load: Load, until: float) -> None:
    """Ask for health ten times a second, and note the memory."""
    connection = http.client.HTTPConnection(*server.address, timeout=120)
    while time.perf_counter() < until:
        begun = time.perf_counter()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        load.health.append(time.perf_counter() - begun)
        load.megabytes.append(server.megabytes())
        time.sleep(0.1)
    connection.close()


def put_load(server: Server, num_clients: int, seconds: float) -> tuple[Load, float]:
    """Return what the clients saw, and images a second."""
    load = Load(Counter(), [], [], [])
    warm_up = time.perf_counter() + WARM_UP
    ask(server, Load(Counter(), [], [], []), warm_up, 0)
    begun = time.perf_counter()
    until = begun + seconds
    threads = [
        threading.Thread(target=ask, args=(server, load, until, number))
        for number in range(num_clients)
    ]
    threads.append(threading.Thread(target=watch, args=(server, load, until)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return load, len(load.seconds) / (time.perf_counter() - begun)


def percentile(values: list[float], percent: float) -> float:
    """Return a percentile in milliseconds."""
    return round(1000 * float(np.percentile(values, percent)), 1)


def summarise(load: Load, served: float, loops: list[float]) -> dict[str, object]:
    """Return the figures of the claim."""
    half = len(load.megabytes) // 2
    direct = statistics.median(loops)
    errors = {
        str(status): count
        for status, count in load.statuses.items()
        if status not in (200, 429)
    }
    return {
        "answered": load.statuses[200],
        "told_to_wait": load.statuses[429],
        "errors": errors,
        "milliseconds_p50_p99": [percentile(load.seconds, p) for p in (50, 99)],
        "health_milliseconds_p99": percentile(load.health, 99),
        "megabytes_first_and_second_half": [
            round(statistics.median(part), 1)
            for part in (load.megabytes[:half], load.megabytes[half:])
        ],
        "images_per_second": round(served, 2),
        "loop_images_per_second": [round(each, 2) for each in loops],
        "ratio": round(served / direct, 2),
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--loop", type=Path)
    given = parser.parse_args()
    if given.loop:
        print(loop(given.loop, given.seconds))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        folder.mkdir()
        write_model(folder)
        loops = [measure_loop(folder, given.seconds / 4)]
        server = Server(folder)
        try:
            load, served = put_load(server, given.clients, given.seconds)
        finally:
            status = server.end()
        loops.append(measure_loop(folder, given.seconds / 4))
    record = {
        "benchmark": "serve",
        "commit": commit(),
        "device": f"{platform.machine()} CPU, {default_workers()} cores",
        "model": f"{BACKBONE}, {NUM_CLASSES} classes, {SIDE}x{SIDE * 3 // 4} pixels",
        "clients": given.clients,
        "seconds": given.seconds,
        "exit_status": status,
        **summarise(load, served, loops),
    }
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
