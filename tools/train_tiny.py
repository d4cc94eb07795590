"""Make the weights of `tiny`, the image-text model of the toy world.

    python tools/train_tiny.py [FOLDER]

Draws 10,000 caption scenes that no toy world has, trains on them and writes the model
to FOLDER, which is the package's own unless said. Takes some 8 minutes of one core. The
same machine and versions give the same weights, others nearly the same.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import torch
from rich.console import Console

from tag2mask.data.captions import read_captions
from tag2mask.data.toy_captions import write_toy_captions
from tag2mask.engine.progress import Progress
from tag2mask.engine.runtime import Runtime, reuse_memory
from tag2mask.models.image_text.tiny import CARD, SHIPPED, WEIGHTS
from tag2mask.stages import image_text

COMMAND = "python tools/train_tiny.py"
NUM_PAIRS = 10_000
RANDOM_SEED = 0


def main() -> None:
    """Draw, train, and put the card and the weights in their place."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=SHIPPED)
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    reuse_memory()
    with tempfile.TemporaryDirectory() as name:
        pairs, model = Path(name, "pairs"), Path(name, "model")
        write_toy_captions(pairs, num_pairs=NUM_PAIRS, random_seed=RANDOM_SEED)
        image_text.run(
            read_captions(pairs),
            image_text.TinyTraining(),
            model,
            random_seed=RANDOM_SEED,
            runtime=Runtime(workers=1, progress=Progress(Console())),
            command=COMMAND,
        )
        folder.mkdir(parents=True, exist_ok=True)
        for file in (CARD, WEIGHTS):
            shutil.copyfile(model / file, folder / file)


if __name__ == "__main__":
    main()
