"""``tag2mask export``: its options, and the commands of the how-to pages."""

import re
import subprocess
import sys

import pytest

OPTIONS = {
    "masks": {
        "--out", "--format", "--subject", "--names", "--images", "--classes",
        "--address", "--workers",
    },
    "onnx": {"--out", "--int8", "--images", "--presence"},
    "hub": {"--repo", "--out", "--private"},
}  # fmt: skip


@pytest.mark.parametrize("command", OPTIONS)
def test_help_lists_the_options(command):
    done = subprocess.run(
        [sys.executable, "-m", "tag2mask.cli", "export", command, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    options = set(re.findall(r"(?<![\w-])--[a-z0-9-]+", done.stdout))
    assert options == OPTIONS[command] | {"--help"}


def test_masks_of_a_run(call_cli, finished, tmp_path):
    options = ("--format", "coco", "--out", tmp_path / "coco")
    code, lines, _ = call_cli("export", "masks", finished.summary, *options)
    assert code == 0
    assert lines[-1] == f"8 label maps in {tmp_path}/coco, read back equal"
    code, _, error = call_cli("export", "masks", tmp_path / "no", *options)
    assert (code, "is not empty" in error) == (1, True)


def test_format_must_be_one_of_ours(call_cli, tmp_path):
    options = ("--format", "gif", "--out", tmp_path)
    assert call_cli("export", "masks", tmp_path, *options)[0] == 2
