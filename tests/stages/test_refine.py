import pytest
import torch
from PIL import Image

from tag2mask import config
from tag2mask.artifacts.cams import Cams, read_cams, write_cams
from tag2mask.artifacts.edges import read_edges, write_edges
from tag2mask.artifacts.labels import LabelFolder, write_labels
from tag2mask.artifacts.tables import ImageRecord, Index, write_index
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import ArtifactError
from tag2mask.stages import refine
from tag2mask.stages.vote import Elector

HEIGHT, WIDTH = 30, 48
RUNTIME = Runtime(workers=1)


@pytest.fixture
def index(tmp_path):
    """Two halves with some noise; a second image without tags."""
    image = torch.full((HEIGHT, WIDTH, 3), 60)
    image[:, : WIDTH // 2] = 190
    image += torch.randint(-50, 51, image.shape)
    for name in ("a", "b"):
        Image.fromarray(image.to(torch.uint8).numpy()).save(tmp_path / f"{name}.png")
    rows = [
        ImageRecord("a", "a.png", WIDTH, HEIGHT, (2, 3), "train"),
        ImageRecord("b", "b.png", WIDTH, HEIGHT, (), "train"),
    ]
    write_index(tmp_path / "index", rows, ["background", "x", "y", "z"], [])
    return Index(tmp_path / "index", tmp_path)


@pytest.fixture
def evidence(tmp_path):
    """A spot of each tag, one to either side of a boundary that lets a little pass."""
    labels = torch.zeros(HEIGHT, WIDTH, dtype=torch.uint8)
    labels[8:20, 6:28] = 2
    edges = torch.full((8, 12), 0.05)
    edges[:, 6] = 0.7
    maps = torch.zeros(2, 8, 12)
    maps[0, 2:5, 1:4], maps[1, 3:6, 8:10] = 1.0, 0.6
    for name, found in (("a", Cams(maps, (2, 3))), ("b", Cams(maps[:0], ()))):
        write_cams(tmp_path / "cams", name, found)
        write_edges(tmp_path / "edges", name, edges)
        write_labels(
            tmp_path / "labels", name, labels if found.class_ids else labels * 0
        )
    return refine.Evidence(
        LabelFolder(tmp_path / "labels"), [tmp_path / "cams"], tmp_path / "edges"
    )


def irnet(**changes):
    return config.Irnet(**{"method": "irnet"} | changes)


def refined(index, evidence, settings, folder):
    refine.run(index, evidence, settings, folder, runtime=RUNTIME)
    return LabelFolder(folder / "labels")["a"]


def test_activation_spreads_up_to_the_boundary(index, evidence, tmp_path):
    labels = refined(index, evidence, irnet(), tmp_path / "refined")
    # columns 24 to 27 are on the boundary itself
    assert (labels[:, :22] == 2).all()
    assert (labels[:, 30:] == 3).all()
    assert LabelFolder(tmp_path / "refined" / "labels")["b"].eq(0).all()
    scores = read_cams(tmp_path / "refined" / "scores", "a")
    assert scores.class_ids == (2, 3)
    resized = scores.at(HEIGHT, WIDTH)
    assert resized.amax() == pytest.approx(1, abs=1e-3)  # of all classes together
    assert resized[1].amax() < 0.9
    assert not (tmp_path / "refined" / "support").exists()


WEAK = {"radius": 3, "beta": 2.0, "steps": 6}


@pytest.mark.parametrize(
    "change",
    [
        {"walk": config.Walk(**WEAK | {"radius": 2})},
        {"walk": config.Walk(**WEAK | {"beta": 8.0})},
        {"walk": config.Walk(**WEAK | {"steps": 0})},
        {"background": 0.6},
        {"crf": "seeds"},
        {"crf": "deeplab"},
    ],
)
def test_every_knob_of_the_walk_is_alive(index, evidence, tmp_path, change):
    common = {"walk": config.Walk(**WEAK)}
    one, other = (
        refined(index, evidence, irnet(**common | each), tmp_path / name)
        for name, each in (("plain", {}), ("changed", change))
    )
    assert not torch.equal(one, other)


def test_the_walks_crf_can_shrink(index, evidence, tmp_path):
    one, other = (
        refined(
            index, evidence, irnet(crf="seeds", crf_shrink=each), tmp_path / str(each)
        )
        for each in (1, 4)
    )
    assert one.shape == other.shape
    assert not torch.equal(one, other)


def test_the_mean_of_all_maps_walks(evidence, tmp_path):
    other = read_cams(evidence.cams[0], "a")
    write_cams(tmp_path / "more", "a", other._replace(maps=1 - other.maps))
    mean = refine.mean_cams([*evidence.cams, tmp_path / "more"], "a")
    assert mean.class_ids == (2, 3)
    torch.testing.assert_close(
        mean.maps, torch.full((2, 8, 12), 0.5), atol=1e-3, rtol=0
    )


def test_support_counts_who_gave_the_label_that_remains(index, evidence, tmp_path):
    ballots = []
    for number, column in enumerate((10, 24, 40)):
        labels = torch.full((HEIGHT, WIDTH), 3, dtype=torch.uint8)
        labels[:, :column] = 2
        for name in ("a", "b"):
            write_labels(tmp_path / f"ballot-{number}", name, labels)
        ballots.append(Elector(LabelFolder(tmp_path / f"ballot-{number}")))
    after = evidence._replace(electors=ballots)
    labels = refined(index, after, irnet(), tmp_path / "refined")
    support = LabelFolder(tmp_path / "refined" / "support")
    assert support["a"][0, [0, 12, 20, 32, 44]].tolist() == [3, 2, 2, 2, 3]
    assert labels[0, [0, 12, 20, 32, 44]].tolist() == [2, 2, 2, 3, 3]
    assert support["b"].eq(0).all()  # nobody called it background


@pytest.fixture
def smooth(index, evidence, tmp_path):
    count = iter(range(10))

    def run(**knobs):
        settings = config.LabelCrf(**{"method": "crf"} | knobs)
        return refined(index, evidence, settings, tmp_path / f"crf-{next(count)}")

    return run


def test_a_crf_of_labels_follows_the_colours(smooth, evidence):
    before, after = evidence.labels["a"], smooth(preset="seeds")
    assert (before[8:20, 24:28] == 2).all()
    assert (after[:, 25:] == 0).all()


@pytest.mark.parametrize(
    "change", [{"preset": "deeplab"}, {"certainty": 0.95}, {"crf_shrink": 2}]
)
def test_every_knob_of_a_crf_of_labels_is_alive(smooth, evidence, change):
    noise = 2 * torch.randint(2, (HEIGHT, WIDTH)).to(torch.uint8)
    write_labels(evidence.labels.folder, "a", noise)
    assert not torch.equal(smooth(), smooth(**change))


def test_what_is_there_is_not_made_again(index, evidence, tmp_path):
    folder = tmp_path / "refined"
    mine = torch.full((HEIGHT, WIDTH), 3, dtype=torch.uint8)
    write_labels(folder / "labels", "a", mine)
    assert torch.equal(refined(index, evidence, irnet(), folder), mine)


def test_a_walk_needs_boundaries(index, evidence, tmp_path):
    with pytest.raises(ValueError, match="needs boundaries"):
        refined(index, evidence._replace(edges=None), irnet(), tmp_path / "x")


def test_damaged_boundaries_are_named(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"no archive")
    with pytest.raises(ArtifactError, match=r"a\.npz cannot be read as boundaries"):
        read_edges(tmp_path, "a")


def test_boundaries_are_kept_to_half_precision(tmp_path):
    edges = torch.rand(5, 7)
    write_edges(tmp_path, "c/d", edges)
    torch.testing.assert_close(read_edges(tmp_path, "c/d"), edges, atol=1e-3, rtol=0)
