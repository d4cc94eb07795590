import numpy as np
import pytest

from tag2mask.export.same_padding import move_same_padding

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
ORIGIN = "pkg.torch.onnx.class_hierarchy"
OURS = "['a.Net', 'tag2mask.models.standard.SameConv2d', 'aten.pad.default']"


@pytest.fixture
def write(tmp_path):
    """Write a padding and a convolution of stride 2 that sums 3 x 3 pixels."""

    def make(*, origin=OURS, dilation=1, is_read_twice=False):
        helper, kind = onnx.helper, onnx.TensorProto.FLOAT
        pad = helper.make_node("Pad", ["x", "pads"], ["padded"])
        entry = pad.metadata_props.add()
        entry.key, entry.value = ORIGIN, origin
        conv = helper.make_node(
            "Conv", ["padded", "weight"], ["y"], strides=[2, 2], pads=[0, 0, 0, 0],
            dilations=[dilation, dilation], kernel_shape=[3, 3],
        )  # fmt: skip
        nodes, outputs = [pad, conv], ["y"]
        if is_read_twice:
            nodes.append(helper.make_node("Identity", ["padded"], ["z"]))
            outputs.append("z")
        # of 4 rows and 4 columns: nothing before, one behind
        pads = np.array([0, 0, 0, 0, 0, 0, 1, 1], np.int64)
        weights = [
            onnx.numpy_helper.from_array(pads, "pads"),
            onnx.numpy_helper.from_array(np.ones((1, 1, 3, 3), np.float32), "weight"),
        ]
        graph = helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info("x", kind, [1, 1, "h", "w"])],
            [helper.make_tensor_value_info(name, kind, None) for name in outputs],
            weights,
        )
        opset = [helper.make_opsetid("", 18)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=9)
        onnx.save(model, tmp_path / "x.onnx")
        return tmp_path / "x.onnx"

    return make


def run(path, side):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    image = np.arange(1, side * side + 1, dtype=np.float32).reshape(1, 1, side, side)
    return session.run(["y"], {"x": image})[0][0, 0].tolist()


def test_convolution_pads_by_itself_as_its_size_needs(write):
    path = write()
    # 1 2 3 4 / 5 6 7 8 / 9 10 11 12 / 13 14 15 16 and zeros behind: the first window
    # is 1+2+3+5+6+7+9+10+11 = 54, beside it 3+4+7+8+11+12 = 45; below it
    # 9+10+11+13+14+15 = 72, and 11+12+15+16 = 54
    expected = [[54, 45], [72, 54]]
    assert run(path, 4) == expected
    assert move_same_padding(path) == 1
    assert run(path, 4) == expected
    # 3 x 3 needs one on each side: 1+2+4+5 = 12, 2+3+5+6 = 16, 4+5+7+8 = 24, 28
    assert run(path, 3) == [[12, 16], [24, 28]]
    assert "Pad" not in [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.parametrize(
    "change",
    [{"origin": "['a.Net', 'aten.pad.default']"}, {"dilation": 2},
     {"is_read_twice": True}],
    ids=str,
)  # fmt: skip
def test_other_padding_stays(write, change):
    path = write(**change)
    assert move_same_padding(path) == 0
    assert "Pad" in [node.op_type for node in onnx.load(path).graph.node]
