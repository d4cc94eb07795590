"""A segmenter as an ONNX file, and what runs it without torch."""

import json
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

import fakes
from tag2mask import deploy
from tag2mask.artifacts.labels import read_index_png
from tag2mask.deploy import Predictor
from tag2mask.engine.inference import class_logits, to_batch
from tag2mask.errors import DatasetError, ModelError, RecipeError
from tag2mask.export import onnx_model
from tag2mask.export.onnx_model import Parity, compare, export_onnx
from tag2mask.export.pictures import SIZES, choose_pictures
from tag2mask.functional.presence import weigh_by_presence
from tag2mask.models.backbones import make_backbone
from tag2mask.models.locate import Located
from tag2mask.models.segmenters import Segmenter, make_network
from tag2mask.models.standard import SameConv2d, in_standard_operators
from tag2mask.models.transformer_segmenters import make_segformer


def noise(height, width, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (height, width, 3), np.uint8)


def test_export_tells_its_agreement_with_pytorch(exported):
    assert exported.float32.num_images == 4
    assert exported.float32.greatest_difference <= 1e-3
    assert exported.float32.equal_labels >= 0.999
    assert exported.int8 is None


@pytest.mark.parametrize("size", [(2, 3), (31, 64), (65, 50)])
def test_any_size_and_batch_is_what_pytorch_says(small, exported, size):
    images = np.stack([noise(*size, seed) for seed in range(3)])
    predictor = Predictor(exported.path, threads=1)
    found = predictor.logits(images)
    batch = to_batch(list(torch.from_numpy(images)), torch.device("cpu"))
    expected = class_logits(small.network, batch, scales=(1.0,), flip=False).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    labels = predictor.predict(images[0]).labels
    assert labels.dtype == np.uint8
    assert np.array_equal(labels, expected[0].argmax(0))
    assert len(np.unique(labels)) > 1 or size == (2, 3)


def test_file_says_what_it_is(exported):
    predictor = Predictor(exported.path)
    assert predictor.class_names == ("background", "cat", "dog")
    assert predictor.palette == ((0, 0, 0), (128, 0, 0), (0, 128, 0))
    assert predictor.card["init"] == "random"
    session = predictor._session.get_modelmeta().custom_metadata_map
    parity = json.loads(session["parity"])
    assert parity["float32"]["equal_labels"] == exported.float32.equal_labels
    assert "uint8" in session["preprocessing"]


@pytest.fixture(scope="session")
def doubting(small, tmp_path_factory):
    """The same with presence."""
    path = tmp_path_factory.mktemp("onnx") / "doubting.onnx"
    return export_onnx(small, path, presence=3.0)


def test_presence_is_in_the_graph(small, exported, doubting, tmp_path):
    images = noise(33, 47)[None]
    predictor = Predictor(doubting.path, threads=1)
    assert predictor.protocol()["presence"] == 3.0
    assert "presence" not in Predictor(exported.path).protocol()
    batch = to_batch(list(torch.from_numpy(images)), torch.device("cpu"))
    logits = class_logits(small.network, batch, scales=(1.0,), flip=False)
    expected = weigh_by_presence(logits, strength=3.0).numpy()
    np.testing.assert_allclose(predictor.logits(images), expected, atol=1e-4)
    assert np.array_equal(predictor.labels(images)[0], expected[0].argmax(0))
    assert (expected[0].argmax(0) != logits[0].argmax(0).numpy()).any()
    Image.fromarray(images[0]).save(tmp_path / "a.png")
    found = deploy.predict_files(doubting.path, [tmp_path / "a.png"], tmp_path / "out")
    assert found == (1, "scales 1, presence 3, CRF none")


def test_int8_keeps_presence(small, doubting, tmp_path, monkeypatch):
    def copy(_model, _presence, path):
        path.write_bytes(doubting.path.read_bytes())

    monkeypatch.setattr(onnx_model, "_write", copy)
    found = export_onnx(small, tmp_path / "int8.onnx", presence=3.0, int8=True)
    assert Predictor(found.path).presence == 3.0
    assert found.int8.equal_labels > 0.5


def with_presence(exported, path, value):
    """Copy an exported file, its presence another; None: it names none."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(exported.path)
    kept = [each for each in model.metadata_props if each.key != "presence"]
    told = {each.key: each.value for each in kept}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, told | ({"presence": value} if value else {}))
    onnx.save(model, path)
    return path


def test_a_file_of_an_older_version_has_no_presence(exported, tmp_path):
    path = with_presence(exported, tmp_path / "older.onnx", None)
    assert Predictor(path).presence == 0.0


@pytest.mark.parametrize("value", ["nan", "-3", "1e9", "much"])
def test_a_presence_that_is_none_is_told(exported, tmp_path, value):
    path = with_presence(exported, tmp_path / "odd.onnx", value)
    with pytest.raises(ModelError, match="classes, colours and presence as it should"):
        Predictor(path)


def test_presence_out_of_bounds_is_not_exported(small, tmp_path):
    with pytest.raises(RecipeError, match="presence: Input should be greater than"):
        export_onnx(small, tmp_path / "x.onnx", presence=-1.0)
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_exported_as_it_was_scored(small, doubting, tmp_path, monkeypatch):
    seen = []

    def copy(_model, presence, path):
        seen.append(presence)
        path.write_bytes(doubting.path.read_bytes())

    scored = Located(tmp_path, {"recipe": {"predict": {"presence": 3.0}}})
    monkeypatch.setattr(onnx_model, "_write", copy)
    monkeypatch.setattr(onnx_model, "locate_segmenter", lambda _: scored)
    monkeypatch.setattr(onnx_model, "load_segmenter", lambda _: small)
    export_onnx(tmp_path, tmp_path / "x.onnx")
    export_onnx(tmp_path, tmp_path / "x.onnx", presence=0.0)
    scored.run["recipe"]["predict"].clear()  # of an older version
    export_onnx(tmp_path, tmp_path / "x.onnx")
    assert seen == [3.0, 0.0, 0.0]


def test_int8_tells_what_it_loses(small, exported, tmp_path, monkeypatch):
    # the exporter is slow: its file of the same network is used again
    def copy(_model, _presence, path):
        path.write_bytes(exported.path.read_bytes())

    monkeypatch.setattr(onnx_model, "_write", copy)
    found = export_onnx(small, tmp_path / "int8.onnx", int8=True)
    assert found.int8.equal_labels < found.float32.equal_labels
    assert found.int8.equal_labels > 0.5
    assert found.int8.greatest_difference > 1e-3
    predictor = Predictor(found.path)
    assert (
        compare(small.network, predictor, choose_pictures((), small.network))
        == found.int8
    )
    content = found.path.read_bytes()
    assert b"ConvInteger" in content
    assert content != exported.path.read_bytes()


def test_graph_that_computes_something_else_is_not_written(
    small, exported, tmp_path, monkeypatch
):
    def copy(_model, _presence, path):
        path.write_bytes(exported.path.read_bytes())

    monkeypatch.setattr(onnx_model, "_write", copy)
    other = nn.Sequential(small.network, nn.Tanh())
    with pytest.raises(ModelError, match="does not compute what PyTorch does: logits"):
        export_onnx(small._replace(network=other), tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_graph_of_one_size_is_not_written(small, exported, tmp_path, monkeypatch):
    def copy(_model, _presence, path):
        path.write_bytes(exported.path.read_bytes())

    def refuse(*_):
        raise ModelError("x.onnx takes no image of 97x130 pixels")

    monkeypatch.setattr(onnx_model, "_write", copy)
    monkeypatch.setattr(onnx_model.Predictor, "logits", refuse)
    with pytest.raises(ModelError, match=r"small cannot .* any size: .* 97x130 pixels"):
        export_onnx(small, tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("parity", "refused"),
    [((1e-3, 0.999), False), ((1.1e-3, 1.0), True), ((0.0, 0.9989), True)],
)
def test_bounds_of_agreement(parity, refused):
    if refused:
        with pytest.raises(ModelError, match="nothing was written"):
            onnx_model._refuse_other(Parity(*parity, 1))
    else:
        onnx_model._refuse_other(Parity(*parity, 1))


@pytest.mark.slow
def test_network_that_cannot_be_exported_is_told(small, tmp_path):
    class Strange(nn.Module):
        def forward(self, images):
            return images[:, :1] if float(images.mean()) > 0 else images

    with pytest.raises(ModelError, match="small cannot be exported for images"):
        export_onnx(small._replace(network=Strange()), tmp_path / "x.onnx")


def test_given_images_are_compared(tmp_path):
    fakes.write_picture(tmp_path / "in" / "a.png")
    found = choose_pictures([tmp_path / "in"], nn.Identity())
    assert [each.shape for each in found] == [(8, 12, 3)]


def test_generated_images_are_of_sizes_that_the_network_takes():
    def sizes(network):
        return [each.shape[:2] for each in choose_pictures((), network)]

    class Patches(nn.Module):
        def forward(self, images):
            assert images.shape[2] % 16 == images.shape[3] % 16 == 0
            return images

    class Refusing(nn.Module):
        def forward(self, *_):
            raise ValueError("no")

    assert sizes(nn.Identity()) == list(SIZES)
    assert sizes(Patches()) == [(128, 160), (256, 256), (64, 64), (288, 384)]
    with pytest.raises(ModelError, match="the network takes no images of"):
        sizes(Refusing())


@pytest.mark.parametrize("library", ["onnx", "onnxruntime", "onnxscript"])
def test_missing_extra_is_told_with_its_cure(small, tmp_path, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ModelError, match=rf'{library}; .*pip install "tag2mask\[onnx'):
        export_onnx(small, tmp_path / "x.onnx")


# what is computed otherwise in training is the same in standard operators


def spread(network):
    """Give batch norms statistics that show whether one is left out."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.running_var):
                    tensor.uniform_(0.5, 1.5)
                for tensor in (module.bias, module.running_mean):
                    tensor.uniform_(-0.5, 0.5)
    return network.eval()


@pytest.mark.parametrize(
    ("backbone", "options", "stride"),
    [
        ("test_resnet", {}, 8),
        ("test_efficientnet", {"pad_type": "same"}, 16),
        ("test_efficientnet", {}, 8),
    ],
)
def test_standard_operators_compute_the_same(backbone, options, stride):
    made = make_backbone(
        backbone, weights="none", output_stride=stride, options=options
    )
    network = make_network(made, "deeplab_v2", num_classes=3, rates=(1, 2), neck=16)
    spread(network)
    standard = in_standard_operators(network)
    kinds = {type(each) for each in standard.modules() if isinstance(each, nn.Conv2d)}
    assert kinds <= {nn.Conv2d, SameConv2d}
    assert not any(isinstance(each, nn.BatchNorm2d) for each in standard.modules())
    for size in ((64, 64), (33, 47), (50, 31)):
        images = torch.rand(2, 3, *size)
        with torch.no_grad():
            expected, found = network(images), standard(images)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert network.folds_taps


def test_padding_of_same_by_hand():
    # 5 wide, stride 2, kernel 3: ceil(5/2) = 3 outputs see (3-1)*2+3 = 7 pixels: 1 + 1.
    # 4 wide: 2 outputs see 5: one more, behind. A kernel of ones sums what it sees.
    conv = SameConv2d(1, 1, (1, 3), stride=(1, 2), bias=False)
    nn.init.ones_(conv.weight)
    with torch.no_grad():
        odd = conv(torch.arange(1.0, 6).view(1, 1, 1, 5))
        even = conv(torch.arange(1.0, 5).view(1, 1, 1, 4))
    assert odd.flatten().tolist() == [3, 9, 9]  # 0+1+2, 2+3+4, 4+5+0
    assert even.flatten().tolist() == [6, 7]  # 1+2+3, 3+4+0
    # a kernel smaller than its stride needs none where all fits: 1x1, stride 2
    small = SameConv2d(1, 1, 1, stride=2, bias=False)
    nn.init.ones_(small.weight)
    with torch.no_grad():
        assert small(torch.arange(1.0, 5).view(1, 1, 1, 4)).flatten().tolist() == [1, 3]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "options"),
    [("mobilenetv2_100", {"pad_type": "same"}), ("test_vit", {})],
)
def test_deeplab_on_real_backbones_is_exported(tmp_path, backbone, options):
    stride = 16
    made = make_backbone(
        backbone, weights="none", output_stride=stride, options=options
    )
    network = spread(make_network(made, "deeplab_v2", num_classes=5, neck=32))
    card = {"network": "deeplab_v2", "backbone": backbone}
    model = Segmenter(network, tuple("abcde"), card)
    found = export_onnx(model, tmp_path / "model.onnx")
    assert found.float32.greatest_difference <= 1e-3
    size = (112, 80) if backbone == "test_vit" else (100, 75)
    images = np.stack([noise(*size), noise(*size, 1)])
    batch = to_batch(list(torch.from_numpy(images)), torch.device("cpu"))
    expected = class_logits(network, batch, scales=(1.0,), flip=False).numpy()
    predictor = Predictor(tmp_path / "model.onnx", threads=1)
    np.testing.assert_allclose(predictor.logits(images), expected, atol=1e-3)
    padded = (tmp_path / "model.onnx").read_bytes().count(b"SAME_UPPER")
    # output stride 16 is four strides of 2
    assert padded == (4 if "pad_type" in options else 0)


MIT = {
    "depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 16, 16],
    "num_attention_heads": [1, 1, 1, 1], "decoder_hidden_size": 16,
}  # fmt: skip


@pytest.mark.slow
def test_segformer_is_exported(tmp_path):
    pytest.importorskip("transformers")
    made = make_segformer("b0", num_classes=3, options=MIT).eval()
    model = Segmenter(made, tuple("abc"), {"network": "segformer"})
    found = export_onnx(model, tmp_path / "model.onnx")
    assert found.float32.greatest_difference <= 1e-3
    images = np.stack([noise(70, 45), noise(70, 45, 1)])
    batch = to_batch(list(torch.from_numpy(images)), torch.device("cpu"))
    expected = class_logits(made, batch, scales=(1.0,), flip=False).numpy()
    logits = Predictor(tmp_path / "model.onnx", threads=1).logits(images)
    np.testing.assert_allclose(logits, expected, atol=1e-3)


# prediction of files


@pytest.fixture
def pictures(tmp_path):
    fakes.write_picture(tmp_path / "in" / "a.png")
    fakes.write_picture(tmp_path / "in" / "sub" / "b.jpg", 1)
    return tmp_path / "in"


def test_files_are_labelled_as_pytorch_labels_them(small, exported, pictures, tmp_path):
    count, protocol = deploy.predict_files(exported.path, [pictures], tmp_path / "out")
    assert (count, protocol) == (2, "scales 1, CRF none")
    names = json.loads((tmp_path / "out" / "classes.json").read_text())
    assert names == list(small.class_names)
    pixels = np.array(Image.open(pictures / "a.png"))
    batch = to_batch([torch.from_numpy(pixels)], torch.device("cpu"))
    with torch.no_grad():
        logits = functional.interpolate(small.network(batch), (8, 12), mode="bilinear")
    found = read_index_png(tmp_path / "out" / "a.png")
    assert np.array_equal(found, logits[0].argmax(0).numpy())
    assert (tmp_path / "out" / "sub" / "b.png").exists()


def test_second_call_continues_and_another_model_is_refused(
    exported, pictures, tmp_path
):
    predict = partial(deploy.predict_files, exported.path, [pictures], tmp_path / "out")
    predict()
    before = (tmp_path / "out" / "a.png").stat().st_mtime_ns
    (tmp_path / "out" / "sub" / "b.png").unlink()
    predict()
    assert (tmp_path / "out" / "a.png").stat().st_mtime_ns == before
    assert (tmp_path / "out" / "sub" / "b.png").exists()
    fakes.write_picture(pictures / "a.png", 7)  # a changed image is labelled anew
    predict()
    assert (tmp_path / "out" / "a.png").stat().st_mtime_ns > before
    claim = tmp_path / "out" / "predict.json"
    record = json.loads(claim.read_text())
    claim.write_text(json.dumps(record | {"weights": "other"}))
    with pytest.raises(DatasetError, match="another model, protocol or program made"):
        predict()


def test_what_is_no_exported_model_is_told(exported, tmp_path):
    with pytest.raises(ModelError, match=r"there is no exported model .*gone\.onnx"):
        Predictor(tmp_path / "gone.onnx")
    (tmp_path / "x.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"x\.onnx cannot be opened as an ONNX model"):
        Predictor(tmp_path / "x.onnx")
    onnx = pytest.importorskip("onnx")
    model = onnx.load(exported.path)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    with pytest.raises(ModelError, match="does not name its classes, colours and"):
        Predictor(tmp_path / "bare.onnx")
    with pytest.raises(ValueError, match="expected RGB pixels, uint8 'h w 3', got flo"):
        Predictor(exported.path).predict(np.zeros((4, 4, 3)))
    with pytest.raises(ModelError, match=r"small\.onnx takes no image of 9x8 pixels: "):
        Predictor(exported.path).logits(np.zeros((1, 8, 9, 4), np.uint8))


def test_missing_runtime_is_told_with_its_cure(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match="install it with pip install onnxruntime"):
        Predictor(tmp_path / "x.onnx")


ISLAND = """
import sys
from importlib.machinery import PathFinder
ALLOWED = {allowed!r}
class Island:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        spec = PathFinder.find_spec(name, path)
        inside = spec is not None and "site-packages" in str(spec.origin)
        if inside and top not in ALLOWED:
            raise ImportError("no " + name + " here")
sys.meta_path.insert(0, Island())
{code}
"""
FOR_MODELS = {"numpy", "PIL", "onnxruntime", "flatbuffers", "google", "packaging"}
FOR_COMMANDS = {
    "typer", "click", "rich", "shellingham", "markdown_it", "mdurl", "pygments",
    "typing_extensions", "annotated_doc", "pydantic", "pydantic_core",
    "annotated_types", "typing_inspection",
}  # fmt: skip


def alone(code, allowed):
    text = ISLAND.format(code=code, allowed={"tag2mask", *allowed})
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_command_works_where_torch_cannot_be_imported(exported, pictures, tmp_path):
    arguments = ["predict", str(exported.path), str(pictures), "--out"]
    arguments += [str(tmp_path / "out")]
    code = (
        f"sys.argv = ['tag2mask', *{arguments!r}]\n"
        "from tag2mask.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'torch' not in sys.modules\n"
        "try: import torch\n"
        "except ImportError: print('torch is forbidden')\n"
    )
    out = alone(code, FOR_MODELS | FOR_COMMANDS)
    assert "2 label maps in" in out
    assert out.endswith("torch is forbidden\n")
    assert read_index_png(tmp_path / "out" / "a.png").shape == (8, 12)


def test_predictor_needs_numpy_pillow_and_the_runtime_alone(exported, pictures):
    code = (
        "from tag2mask.deploy import Predictor\n"
        f"predictor = Predictor({str(exported.path)!r})\n"
        f"found = predictor.predict({str(pictures / 'a.png')!r})\n"
        "print(found.overlay().size, round(sum(found.areas().values())))\n"
    )
    assert alone(code, FOR_MODELS) == "(12, 8) 100\n"


def test_command_exports_and_refuses_what_the_file_cannot(
    call_cli, exported, small, pictures, tmp_path, monkeypatch
):
    def copy(_model, _presence, path):
        path.write_bytes(exported.path.read_bytes())

    monkeypatch.setattr(onnx_model, "_write", copy)
    monkeypatch.setattr(
        onnx_model, "locate_segmenter", lambda _: Located(exported.path, None)
    )
    monkeypatch.setattr(type(exported), "folder", None, raising=False)
    monkeypatch.setattr(onnx_model, "load_segmenter", lambda _: small)
    out = tmp_path / "m.onnx"
    code, lines, _ = call_cli("export", "onnx", "model", "--out", out, "--int8")
    assert code == 0
    assert lines[0].startswith(
        "float32: 100.00 % of the labels are PyTorch's; logits d"
    )
    assert lines[1].startswith("int8: ")
    assert lines[2].startswith(f"{out} (0.0 MB)")
    code, _, error = call_cli("export", "onnx", "model", "--out", tmp_path / "m")
    assert (code, "expected a file named .onnx" in error) == (1, True)
    for option in (["--flip"], ["--scales", "1,2"], ["--crf", "seeds"]):
        code, _, error = call_cli(
            "predict", out, pictures, "--out", tmp_path / "out", *option
        )
        assert code == 1
        assert "predicts as it was exported, on the CPU, without mirror or CRF" in error
