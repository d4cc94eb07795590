import subprocess
import sys

import pytest

from tag2mask._torchvision import import_torchvision

FAKES = {
    "another": 'raise RuntimeError("something else")',
    "working": "working = True",
    "broken": """
import torch

@torch.library.register_fake("torchvision::nms")
def nms(dets, scores, iou_threshold):
    return dets

working = True
""",
}
SCRIPT = """
import importlib, sys, torch
from tag2mask._torchvision import import_torchvision

def attempt(fake, load):
    sys.path.insert(0, f"{sys.argv[1]}/{fake}")
    importlib.invalidate_caches()
    try:
        load()
        said = sys.modules["torchvision"].working
    except RuntimeError as error:
        said = error
    del sys.path[0]
    sys.modules.pop("torchvision", None)
    print(fake, said, hasattr(torch.ops.torchvision, "nms"), sep="; ")

def twice():
    import_torchvision()
    import_torchvision()

attempt("another", import_torchvision)
attempt("working", import_torchvision)
attempt("broken", lambda: importlib.import_module("torchvision"))
attempt("broken", twice)
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What happens beside torchvisions of our own making, in a fresh interpreter."""
    root = tmp_path_factory.mktemp("fakes")
    for name, source in FAKES.items():
        package = root / name / "torchvision"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(source)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(root)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_another_error_is_not_hidden(said):
    assert said[0] == "another; something else; False"


def test_working_torchvision_is_left_alone(said):
    assert said[1] == "working; True; False"


def test_torchvision_without_operators_can_be_imported(said):
    assert said[2].startswith("broken; operator torchvision::nms does not exist")
    assert said[3] == "broken; True; True"


def test_installed_torchvision_can_be_imported():
    import_torchvision()
    assert sys.modules["torchvision"].__version__
