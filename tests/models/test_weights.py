import copy
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tag2mask.errors import ArtifactError, ModelError
from tag2mask.models.weights import (
    load_backbone_weights,
    load_module,
    read_weights,
    save_module,
)

REAL = Path("../shared/data/weights/mobilenetv2_100.imagenet-int8deq.safetensors")


class Net(nn.Module):
    """The least that a timm model with a classifier has."""

    pretrained_cfg = {"classifier": "fc"}  # noqa: RUF012

    def __init__(self, num_classes=2, width=3):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 1)
        self.norm = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, num_classes)


def same(one, other, prefix=""):
    mine, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(mine[k], theirs[k]) for k in mine if k.startswith(prefix))


@pytest.fixture
def net():
    net = Net()
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    return net


WRAPPERS = [
    lambda state: state,
    lambda state: {"state_dict": state, "epoch": 3},
    lambda state: {"model": state},
    lambda state: {"model_state_dict": state},
]


@pytest.mark.parametrize("wrap", WRAPPERS)
@pytest.mark.parametrize("zipped", [True, False])
def test_pth_is_read_in_its_usual_wrappings(tmp_path, net, wrap, zipped):
    path = tmp_path / "w.pth"
    torch.save(wrap(net.state_dict()), path, _use_new_zipfile_serialization=zipped)
    found = Net()
    load_backbone_weights(found, str(path), name="net")
    assert same(found, net, "conv")
    assert same(found, net, "norm")


@pytest.mark.parametrize("suffix", [".safetensors", ".SAFETENSORS"])
def test_safetensors_are_read(tmp_path, net, suffix):
    path = tmp_path / f"w{suffix}"
    save_file(net.state_dict(), path)
    found = Net()
    load_backbone_weights(found, str(path), name="net")
    assert same(found, net, "conv")


@pytest.mark.parametrize("weights", ["hub", "none"])
def test_words_load_nothing(net, weights):
    before = {key: value.clone() for key, value in net.state_dict().items()}
    load_backbone_weights(net, weights, name="net")
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


@pytest.mark.parametrize("num_classes", [0, 5])
def test_classifier_may_be_of_any_size_or_absent(tmp_path, net, num_classes):
    other = Net(num_classes=num_classes) if num_classes else net
    state = {
        k: v for k, v in other.state_dict().items() if num_classes or "fc" not in k
    }
    save_file(state, tmp_path / "w.safetensors")
    found = Net(num_classes=4)
    load_backbone_weights(found, str(tmp_path / "w.safetensors"), name="net")
    assert same(found, other, "conv")
    assert found.fc.out_features == 4


def test_part_of_a_network_is_loaded_alone(tmp_path, net):
    whole = nn.ModuleDict({"backbone": net, "head": nn.Linear(1, 1)})
    save_module(whole, tmp_path / "whole.safetensors")
    other = copy.deepcopy(net)
    nn.init.zeros_(other.conv.weight)
    load_module(other, tmp_path / "whole.safetensors", name="it", part="backbone")
    assert same(net, other)


def test_counters_of_batch_norms_may_be_absent(tmp_path, net):
    state = net.state_dict()
    del state["norm.num_batches_tracked"]
    save_file(state, tmp_path / "w.safetensors")
    found = Net()
    load_backbone_weights(found, str(tmp_path / "w.safetensors"), name="net")
    assert same(found, net, "conv")
    load_module(found, tmp_path / "w.safetensors", name="net")
    assert same(found, net)


def test_weights_of_another_network_name_their_keys(tmp_path, net):
    state = net.state_dict()
    state["stem.weight"] = state.pop("conv.weight")
    del state["norm.running_mean"]
    path = tmp_path / "w.safetensors"
    save_file(state, path)
    with pytest.raises(ModelError) as caught:
        load_backbone_weights(Net(), str(path), name="resnet")
    assert str(caught.value) == (
        f"{path} is not of resnet: 2 keys are missing (conv.weight, "
        f"norm.running_mean), 1 are unknown (stem.weight)"
    )


def test_only_the_first_keys_are_named(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({f"k{n}": torch.zeros(1) for n in range(9)}, path)
    with pytest.raises(ModelError, match=r"9 are unknown \(k0, k1, k2, …\)"):
        load_backbone_weights(Net(), str(path), name="net")


def test_weights_of_another_shape_name_key_and_shapes(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(Net(width=4).state_dict(), path)
    message = (
        r"w\.safetensors is not of net: "
        r"\S+ has shape \[4[,\] 1]*, expected \[3[,\] 1]*$"
    )
    with pytest.raises(ModelError, match=message):
        load_backbone_weights(Net(), str(path), name="net")
    with pytest.raises(ModelError, match=message):
        load_module(Net(), path, name="net")


class Code:
    """Runs when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_code_is_refused_and_not_run(tmp_path, how):
    path, ran = tmp_path / "w.pth", tmp_path / "ran"
    if how == "pickle":
        path.write_bytes(pickle.dumps({"a": Code(ran)}, protocol=2))
    else:
        torch.save({"a": Code(ran)}, path)
    message = r"w\.pth holds more than tensors and is not loaded, since .*; save its"
    with pytest.raises(ModelError, match=message):
        read_weights(path)
    assert not ran.exists()


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_truncated_file_is_named_with_its_cure(tmp_path, net, suffix, share):
    path = tmp_path / f"w.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(net.state_dict(), path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    message = rf"w\.{suffix} cannot be read as weights \(.+\); get the file again"
    with pytest.raises(ModelError, match=message):
        read_weights(path)


@pytest.mark.parametrize("text", ["<html>", "hello there", "{}"])
def test_text_is_no_weights_and_is_not_said_to_hold_code(tmp_path, text):
    path = tmp_path / "w.pth"
    path.write_text(text)
    with pytest.raises(ModelError, match=r"w\.pth cannot be read as weights"):
        read_weights(path)


@pytest.mark.parametrize("saved", [[torch.zeros(1)], {"a": 1}, {}, {1: torch.zeros(1)}])
def test_what_is_no_state_dict_is_named(tmp_path, saved):
    torch.save(saved, tmp_path / "w.pth")
    with pytest.raises(
        ModelError, match=r"w\.pth holds no state dict of tensors; save"
    ):
        read_weights(tmp_path / "w.pth")


def test_missing_file_names_where_it_was_sought(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = (
        rf"no weights file {tmp_path}/w\.pth; `weights` is 'hub', 'none' or a path"
    )
    with pytest.raises(ModelError, match=message):
        read_weights(Path("w.pth"))


def test_module_roundtrip(tmp_path, net):
    net.to(memory_format=torch.channels_last)
    save_module(net, tmp_path / "w.safetensors")
    found = Net()
    load_module(found, tmp_path / "w.safetensors", name="net")
    assert same(found, net)
    assert list(tmp_path.iterdir()) == [tmp_path / "w.safetensors"]


def test_tied_weights_are_saved(tmp_path):
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    save_module(net, tmp_path / "w.safetensors")
    assert "1.weight" in read_weights(tmp_path / "w.safetensors")


def test_module_is_loaded_strictly(tmp_path, net):
    save_module(net, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"of a linear: 0 keys .*6 are unknown|2 keys"):
        load_module(nn.Linear(3, 2), tmp_path / "w.safetensors", name="a linear")


def test_full_disk_names_the_file(tmp_path, net, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ArtifactError, match=r"w\.safetensors: No space left on device"):
        save_module(net, tmp_path / "w.safetensors")


@pytest.mark.skipif(not REAL.exists(), reason=f"{REAL} is not here")
def test_real_weights_load_with_all_keys():
    from tag2mask.models.backbones import make_backbone

    backbone = make_backbone(
        "mobilenetv2_100",
        weights=str(REAL),
        output_stride=16,
        options={"pad_type": "same", "mean": 0.5, "std": 0.5},
    )
    found, mine = read_weights(REAL), backbone.net.state_dict()
    theirs = {key for key in found if not key.startswith("classifier.")}
    assert {key for key in mine if "num_batches_tracked" not in key} <= theirs
    assert theirs <= set(mine)
    assert all(torch.equal(found[key], mine[key]) for key in theirs)
