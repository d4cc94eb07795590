"""Studies: what their files say, what they run, what their tables show."""

import csv
import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from PIL import Image

from tag2mask import Runtime, config
from tag2mask.artifacts.files import read_json
from tag2mask.config.study_load import find_study, load_study
from tag2mask.config.study_schema import Row, Study
from tag2mask.errors import DatasetError, RecipeError, TrainingError
from tag2mask.pipeline import study as pipeline
from tag2mask.pipeline.study import list_trials, plan_study, run_study
from tag2mask.pipeline.study_chart import Spot, fit_axis, spread_chart
from tag2mask.pipeline.study_classes import class_chart
from tag2mask.pipeline.study_files import as_csv, as_markdown, as_record, captions
from tag2mask.pipeline.study_table import Result, tabulate
from tag2mask.pipeline.voters import VoterMaker

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
RUNTIME = Runtime(workers=1)
SHIPPED = sorted((Path(__file__).parents[1] / "studies").glob("*ca-cl*.toml"))
CAM = {"stage": "cam", "subject": "a-0.1-1", "threshold": "oracle"}
HEAD = """
title = "T"
recipe = "toy"
score = { stage = "vote", subject = "vote" }
"""
ROWS = '[[rows]]\nname = "plain"\n[[rows]]\nname = "taut"\nset = ["segment.tau=2"]\n'


def make(**keys):
    """Return a study as its file would give it."""
    score = {"stage": "vote", "subject": "vote"}
    table = {"title": "T", "recipe": "toy", "score": score, "rows": [{"name": "plain"}]}
    return Study.model_validate_json(json.dumps(table | keys))


@pytest.fixture
def of_tiny(recipe_file):
    """Return studies of the tiny recipe, its maps at the best threshold by default."""
    shared = {"recipe": str(recipe_file), "score": CAM, "random_seeds": [0]}
    return lambda **keys: make(**(shared | keys))


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished run, to add to."""
    shutil.copytree(finished.work, tmp_path / "work")
    return tmp_path / "work"


# the file


def complaint(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_study(path)
    first, *lines = str(caught.value).split("\n  ")
    assert first == f"{path} is not a study:"
    return lines


def test_a_study_is_found_by_path_and_by_name(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xef\xbb\xbf" + (HEAD + ROWS).encode())
    assert [row.name for row in load_study(path).variants] == ["plain", "taut"]
    assert find_study(Path("ca-cl-losses")).name == "ca-cl-losses.toml"
    with pytest.raises(RecipeError, match=r"no study ca-cl; .*: ca-cl-irnet, ca-cl-l"):
        load_study("ca-cl")


def test_what_is_not_toml_names_the_file(tmp_path):
    (tmp_path / "mine.toml").write_text("[rows\n")
    with pytest.raises(RecipeError, match=r"mine\.toml is not TOML: \S"):
        load_study(tmp_path / "mine.toml")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "there is no row: give [[rows]], [grid] or [subsets]"),
        ("random_seed = [0]\n" + ROWS,
         "random_seed: there is no such key; did you mean 'random_seeds'?"),
        (ROWS + "sett = []",
         "rows[1].sett: there is no such key; did you mean 'set'?"),
        ("random_seeds = []\n" + ROWS,
         "random_seeds: Value should have at least 1 item after validation, not 0"),
        ("random_seeds = [1, 1]\n" + ROWS, "random_seeds: one is named twice: 1, 1"),
        ("random_seeds = [-1]\n" + ROWS,
         "random_seeds[0]: Input should be greater than or equal to 0"),
        (ROWS + 'score = { stage = "cam", subject = "a-0.1-1" }',
         "rows[1].score: a cam has three scores: threshold = 'fixed', 'label_free' or "
         "'oracle'"),
        (ROWS + 'score = { stage = "seed", subject = "a", threshold = "fixed" }',
         "rows[1].score: a threshold is of a cam, not of a seed"),
        (ROWS + 'score = { stage = "seed", subjekt = "a", subject = "a" }',
         "rows[1].score.subjekt: there is no such key; did you mean 'subject'?"),
        ('[[rows]]\nname = ""',
         "rows[0].name: String should have at least 1 character"),
        (ROWS + '[[rows]]\nname = "taut"', "two rows have the name 'taut'"),
        (ROWS + '[grid]\n"segment.tau" = [1]',
         "row 'taut, tau = 1' sets segment.tau twice"),
        ('[grid]\n"segment.tau" = []',
         "grid.segment.tau: Tuple should have at least 1 item after validation, not 0"),
        ('[grid]\nrandom_seed = [1]', "grid: random_seed is told by random_seeds"),
        ('set = ["random_seed = 1"]\n' + ROWS,
         "set: random_seed is told by random_seeds"),
        (ROWS + '[quoted]\nplane = 1',
         "quoted: no row is 'plane'; did you mean 'plain'?"),
        (ROWS + "[quoted]\nplain = 1",
         "quoted and quoted_from belong together: give both"),
        ('quoted_from = "x"\n' + ROWS + "[others]\nplain = 1",
         "others: 'plain' is a row; put it into quoted"),
        ('quoted_from = "x"\n' + ROWS,
         "quoted and quoted_from belong together: give both"),
    ],
)  # fmt: skip
def test_mistakes_are_told_by_key(tmp_path, text, line):
    assert complaint(tmp_path, HEAD + text) == [line]


def test_all_mistakes_are_told_at_once(tmp_path):
    assert complaint(tmp_path, 'recipe = ""\nrows = 3') == [
        "title: Field required",
        "recipe: String should have at least 1 character",
        "score: Field required",
        "rows: Input should be a valid array",
    ]


def test_rows_of_a_grid_are_its_product_in_order():
    study = make(rows=[], grid={"segment.tau": [1, 0.5], "predict.flip": [True, False]})
    assert [(row.name, row.set) for row in study.variants] == [
        ("tau = 1, flip = true", ("segment.tau=1", "predict.flip=true")),
        ("tau = 1, flip = false", ("segment.tau=1", "predict.flip=false")),
        ("tau = 0.5, flip = true", ("segment.tau=0.5", "predict.flip=true")),
        ("tau = 0.5, flip = false", ("segment.tau=0.5", "predict.flip=false")),
    ]


def test_rows_and_grid_make_every_pair():
    rows = [{"name": "a", "set": ["segment.batch=3"], "group": "g"}, {"name": "b"}]
    study = make(rows=rows, grid={"segment.tau": [1, 2]})
    assert [row.name for row in study.variants] == [
        "a, tau = 1", "a, tau = 2", "b, tau = 1", "b, tau = 2",
    ]  # fmt: skip
    assert study.variants[1] == Row(
        name="a, tau = 2", set=("segment.batch=3", "segment.tau=2"), group="g"
    )


def test_subsets_are_every_choice_the_small_ones_first():
    study = make(rows=[], subsets={"predict.scales": [0.5, 1, 2]})
    assert [(row.set[0], row.group) for row in study.variants] == [
        ("predict.scales=[0.5]", "1 of 3"),
        ("predict.scales=[1]", "1 of 3"),
        ("predict.scales=[2]", "1 of 3"),
        ("predict.scales=[0.5, 1]", "2 of 3"),
        ("predict.scales=[0.5, 2]", "2 of 3"),
        ("predict.scales=[1, 2]", "2 of 3"),
        ("predict.scales=[0.5, 1, 2]", "3 of 3"),
    ]
    assert study.variants[3].name == "scales = 0.5 + 1"


def test_keys_that_end_alike_are_named_whole():
    grid = {"segment.steps": [1], "voters.a.steps": [2], "segment.tau": [1]}
    (row,) = make(rows=[], grid=grid).variants
    assert row.name == "segment.steps = 1, voters.a.steps = 2, tau = 1"


def test_values_reach_the_recipe_as_they_were_written(recipe_file):
    seedings = [{"background": 0.25, "crf": "none"}, {"alpha": 1.5}]
    grid = {"voters.a.seed": seedings, "data.root": ['a "b" \\c, Bäume 🌳 = {1}']}
    study = make(rows=[], recipe=str(recipe_file), grid=grid)
    recipes = [each.recipe for each in list_trials(study)[::3]]
    assert [recipe.voters["a"].seed for recipe in recipes] == [
        config.Seeding(background=0.25, crf="none"),
        config.Seeding(alpha=1.5),
    ]
    assert recipes[0].data.root == Path('a "b" \\c, Bäume 🌳 = {1}')


# the runs


def test_trials_are_rows_times_random_seeds(of_tiny):
    rows = [{"name": "a"}, {"name": "b", "set": ["segment.tau=3"]}]
    trials = list_trials(of_tiny(rows=rows, random_seeds=[4, 2]))
    assert [(t.row.name, t.random_seed, t.recipe.random_seed) for t in trials] == [
        ("a", 4, 4), ("a", 2, 2), ("b", 4, 4), ("b", 2, 2),
    ]  # fmt: skip
    assert [trial.recipe.segment.tau for trial in trials] == [0.1, 0.1, 3.0, 3.0]


def test_a_row_wins_over_the_command_line_and_that_over_the_study(of_tiny):
    study = of_tiny(
        set=["segment.tau=1", "segment.batch=2", "segment.crop=64"],
        rows=[{"name": "a", "set": ["segment.tau=3"]}],
    )
    (trial,) = list_trials(study, ["segment.tau=2", "segment.batch=5"])
    table = trial.recipe.segment
    assert (table.tau, table.batch, table.crop) == (3.0, 5, 64)


def test_random_seeds_are_those_of_the_file(of_tiny):
    with pytest.raises(RecipeError, match=r"of its own, 0, 1; change them in its file"):
        list_trials(of_tiny(random_seeds=[0, 1]), ["random_seed=7"])


def test_a_wrong_key_names_its_row(of_tiny):
    rows = [{"name": "good"}, {"name": "bad", "set": ["segment.stepz=3"]}]
    with pytest.raises(RecipeError) as caught:
        list_trials(of_tiny(rows=rows))
    first, second = str(caught.value).split("\n")
    assert first.startswith("row 'bad': ")
    assert second == "  segment.stepz: there is no such key; did you mean 'steps'?"


def test_a_row_has_a_score_of_its_own_if_it_says_so(of_tiny):
    other = {"stage": "seed", "subject": "a-0.3-1"}
    trials = list_trials(of_tiny(rows=[{"name": "a"}, {"name": "b", "score": other}]))
    assert [str(trial.score) for trial in trials] == ["cam a-0.1-1", "seed a-0.3-1"]


def test_a_score_that_no_run_has_is_told_before_anything_runs(of_tiny, tmp_path):
    score = CAM | {"subject": "a-0.2-1"}
    study = of_tiny(rows=[{"name": "good"}, {"name": "bad", "score": score}])
    expected = (
        r"row 'bad': there is no score of cam a-0.2-1; did you mean 'cam a-0.\d-1'\?; "
        r"scores: cam a-0.1-1, seed a-0.1-1, .*, vote vote, predict plain, predict fin"
    )
    with pytest.raises(RecipeError, match=expected):
        run_study(study, tmp_path / "work", runtime=RUNTIME)
    assert not (tmp_path / "work").exists()


def test_without_masks_there_is_nothing_to_show(of_tiny, tmp_path):
    with pytest.raises(RecipeError, match=r"scores: none, for data\.masks is not set"):
        plan_study(of_tiny(set=['data.masks=""']), tmp_path)


def test_bad_data_name_the_row(of_tiny, tmp_path):
    with pytest.raises(DatasetError, match=r"row 'plain': there is no image .*nowhere"):
        plan_study(of_tiny(set=["data.root=nowhere"]), tmp_path)


def stages(planned):
    return [sorted(each.stage for each in line.todo) for line in planned]


def test_a_plan_counts_what_rows_share_once(of_tiny, tmp_path):
    rows = [{"name": "plain"}, {"name": "taut", "set": ["segment.tau=2"]},
            {"name": "hot", "set": ["voters.a.learning_rate=0.1"]}]  # fmt: skip
    planned = plan_study(of_tiny(rows=rows), tmp_path / "work")
    networks = ["localize"] * 2
    cams = ["cam"] * 4
    assert stages(planned) == [
        [*cams, "evaluate", "index", *networks],  # and no seed, vote or segmenter
        [],
        [*cams, "evaluate", *networks],
    ]
    assert not (tmp_path / "work").exists()


def test_a_plan_knows_what_other_runs_have_made(of_tiny, finished):
    assert stages(plan_study(of_tiny(), finished.work)) == [[]]
    predicted = of_tiny(
        score={"stage": "predict", "subject": "plain"},
        rows=[{"name": "taut", "set": ["segment.tau=2"]}],
    )
    # seven artifacts of the index and voters, four seeds and the vote are there
    assert stages(plan_study(predicted, finished.work)) == [
        ["evaluate", "predict", "predict", "segment"]
    ]


@pytest.fixture
def counted(monkeypatch):
    """Count the artifacts that are asked of every stage of a run that makes them."""
    made = []
    build = pipeline.run

    def run(recipe, work, **options):
        before = {path.parent for path in Path(work).glob("*/*/manifest.json")}
        summary = build(recipe, work, **options)
        after = {path.parent for path in Path(work).glob("*/*/manifest.json")}
        made.append(sorted(path.parent.name for path in after - before))
        return summary

    monkeypatch.setattr(pipeline, "run", run)
    return made


def test_a_study_makes_what_its_plan_says_and_shares_the_rest(
    of_tiny, copied, counted, finished
):
    rows = [
        {"name": "maps", "score": CAM},
        {"name": "plain"},
        {"name": "taut", "set": ["segment.tau=2"]},
    ]
    study = of_tiny(rows=rows, score={"stage": "predict", "subject": "plain"})
    planned = plan_study(study, copied)
    table, folder = run_study(study, copied, name="mine", runtime=RUNTIME)
    figure = "".join(ElementTree.parse(folder / "figure.svg").getroot().itertext())
    assert "USES GROUND TRUTH" not in figure  # most rows are predictions
    assert "split val" in figure
    proxies = ["evaluate", "evaluate", "predict", "predict", "proxies", "proxies"]
    assert counted == [[], [], [*proxies, "segment"]]  # no map, seed or vote anew
    assert stages(planned)[:2] == [[], []]

    scores = {
        (s["stage"], s["subject"], s["protocol"].get("threshold_chosen")): s["miou"]
        for s in finished.record["scores"]
    }
    assert [line.mean for line in table.lines[:2]] == [
        scores["cam", "a-0.1-1", "oracle"],
        scores["predict", "plain", None],
    ]
    assert folder.parent == copied / "studies"
    assert re.fullmatch("mine-[0-9a-f]{12}", folder.name)
    assert sorted(path.name for path in folder.iterdir()) == [
        "classes.csv", "classes.svg", "figure.svg", "panels.png", "table.csv",
        "table.json", "table.md",
    ]  # fmt: skip
    by_class = list(csv.reader((folder / "classes.csv").read_text().splitlines()))
    assert by_class[0] == ["class", *(line.row.name for line in table.lines)]
    assert float(by_class[2][2]) == pytest.approx(
        table.lines[1].results[0].score["per_class"][by_class[2][0]]
    )
    assert "(classes.svg)" in (folder / "table.md").read_text()
    ElementTree.parse(folder / "classes.svg")
    with Image.open(folder / "panels.png") as picture:
        # photograph, two rows of predictions, truth: 240 pixels and a gap each
        assert picture.width == 4 * 248 + 8
    for row, line in zip(
        read_json(folder / "table.json")["rows"], table.lines, strict=True
    ):
        (run,) = row["runs"]
        summary = read_json(folder / run["summary"])
        assert run["miou"] in [score["miou"] for score in summary["scores"]]
        assert summary["recipe"]["segment"]["tau"] == (
            2.0 if line.row.name == "taut" else 0.1
        )


def test_an_interrupted_study_continues(of_tiny, tmp_path, monkeypatch, counted):
    small = ["voters.a.dropout=0.1", "voters.a.scales=1.0", "segment.min_support=1"]
    study = of_tiny(set=[*small, "voters.a.steps=1"], random_seeds=[0, 1])
    train = VoterMaker._classifier

    def fail(self, *arguments):
        if self.random_seed == 1 and not self.builder.dry:
            raise TrainingError("loss 'tags' is nan at step 0")
        return train(self, *arguments)

    monkeypatch.setattr(VoterMaker, "_classifier", fail)
    expected = (
        r"row 'plain', random seed 1: loss 'tags' is nan at step 0; what is finished "
        r"is kept, the same command continues"
    )
    with pytest.raises(TrainingError, match=expected):
        run_study(study, tmp_path, runtime=RUNTIME)
    assert not (tmp_path / "studies").exists()
    monkeypatch.setattr(VoterMaker, "_classifier", train)
    table, _ = run_study(study, tmp_path, runtime=RUNTIME)
    cam = ["cam", "evaluate"]
    assert counted == [
        [*cam, "index", "localize", "proxies"], [], [*cam, "localize", "proxies"],
    ]  # fmt: skip
    first, second = (each.score["miou"] for each in table.lines[0].results)
    assert first != second
    assert table.lines[0].mean == pytest.approx((first + second) / 2, abs=1e-4)


def test_another_setting_gets_a_folder_of_its_own(of_tiny, copied):
    folders = {
        run_study(study, copied, overrides=overrides, runtime=RUNTIME)[1]
        for study, overrides in (
            (of_tiny(), ()),
            (of_tiny(), ()),
            (of_tiny(), ["segment.tau=7"]),
            (of_tiny(score=CAM | {"threshold": "fixed"}), ()),
        )
    }
    assert len(folders) == 3


def test_the_threshold_says_which_score_of_a_cam(of_tiny, copied, finished):
    kinds = ("fixed", "label_free", "oracle")
    every = [{"name": kind, "score": CAM | {"threshold": kind}} for kind in kinds]
    table, _ = run_study(of_tiny(rows=every), copied, runtime=RUNTIME)
    expected = {
        score["protocol"]["threshold_chosen"]: score["miou"]
        for score in finished.record["scores"]
        if (score["stage"], score["subject"]) == ("cam", "a-0.1-1")
    }
    assert {line.row.name: line.mean for line in table.lines} == expected
    assert [line.protocol["uses_truth"] for line in table.lines] == [False, False, True]


# the table


def result(name, random_seed, miou, group="", **protocol):
    shared = {"split": "train", "scales": [1.0, 1.5], "flip": False, "crf": "none",
              "uses_truth": True, "random_seed": random_seed}  # fmt: skip
    score = {"stage": "cam", "subject": "a-1", "miou": miou, "num_images": 8}
    return Result(
        Row(name=name, group=group),
        random_seed,
        score | {"protocol": shared | {"threshold_chosen": "oracle"} | protocol},
        Path("work/runs/x-0/summary.json"),
    )


def rows(*names):
    return [{"name": name} for name in names]


THREE = [result("a", seed, miou) for seed, miou in enumerate((40.0, 43.0, 46.0))]
OTHER = [result("b", seed, miou) for seed, miou in enumerate((41.0, 41.0, 44.0))]


def test_mean_and_spread_by_hand():
    table = tabulate(make(rows=rows("a", "b")), THREE + OTHER, name="n")
    # a: mean 43, deviations -3 0 3, variance (9 + 0 + 9) / 2 = 9, so 3
    # b: mean 42, deviations -1 -1 2, variance (1 + 1 + 4) / 2 = 3, so 1.7321
    assert [(line.mean, line.spread) for line in table.lines] == [
        (43.0, 3.0),
        (42.0, 1.7321),
    ]
    assert [line.is_best for line in table.lines] == [True, False]


def test_one_random_seed_has_no_spread():
    study = make(rows=rows("a"), random_seeds=[0])
    table = tabulate(study, THREE[:1], name="n")
    (line,) = table.lines
    assert (line.mean, line.spread, line.is_best) == (40.0, None, False)
    assert "| a | 40.00 | \N{EN DASH} | 1 |" in as_markdown(table)
    first = next(captions(table))
    assert "random seed 0 alone, so that the spread is not known" in first


def test_a_score_that_is_undefined_leaves_no_mean():
    results = [*THREE[:2], result("a", 2, None), *OTHER]
    table = tabulate(make(rows=rows("a", "b")), results, name="n")
    assert [(line.mean, line.spread) for line in table.lines] == [
        (None, None),
        (42.0, 1.7321),
    ]
    assert "| a | \N{EN DASH} | \N{EN DASH} | 3 |" in as_markdown(table)
    assert as_csv(table).splitlines()[1].startswith('a,,,,3,,,40.0,43.0,,"score cam')


def test_background_taken_for_objects_is_a_mean_over_random_seeds():
    def told(recall):
        one = result("a", 0, 40.0)
        return one._replace(score={**one.score, "recall": {"background": recall}})

    # 100 - 90 and 100 - 80
    study = make(rows=rows("a"), random_seeds=[0, 1])
    table = tabulate(study, [told(90.0), told(80.0)._replace(random_seed=1)], name="n")
    assert table.lines[0].false_positives == 15.0
    assert "| background called object % |" in as_markdown(table)
    assert as_csv(table).splitlines()[1].startswith("a,,40.0,0.0,2,,15.0,40.0,40.0,")
    half = tabulate(study, [told(90.0), told(None)], name="n")
    assert half.lines[0].false_positives is None


def test_the_best_of_each_group_stands_out():
    results = [
        result(name, 0, miou, group)
        for name, miou, group in (
            ("a", 1.0, "x"),
            ("b", 2.0, "x"),
            ("c", 9.0, "y"),
            ("d", 2.0, "x"),
        )
    ]
    study = make(rows=rows(*"abcd"), random_seeds=[0])
    table = tabulate(study, results, name="n")
    assert [line.row.name for line in table.lines if line.is_best] == ["b"]
    assert "Bold: the highest of its group." in next(captions(table))


def test_markdown_has_quoted_scores_and_the_protocol():
    study = make(
        rows=rows("a", "b"), quoted={"b": 64.4}, quoted_from="Table 4", set=["x=1"]
    )
    table = tabulate(study, THREE + OTHER, name="n", overrides=["y=2"])
    assert as_markdown(table) == (
        "# T\n\n"
        "| row | mIoU % | sd | random seeds | quoted |\n"
        "| --- | ---: | ---: | ---: | ---: |\n"
        "| a | **43.00** | 3.00 | 3 |  |\n"
        "| b | 42.00 | 1.73 | 3 | 64.4 |\n\n"
        "![mIoU of every row and random seed](figure.svg)\n\n"
        "mIoU in %: mean and standard deviation (n - 1) over the random seeds 0, 1, 2. "
        "Bold: the highest.\n\n"
        "Protocol: score cam a-1; images 8; split train; scales 1, 1.5; flip no; "
        "crf none; USES GROUND TRUTH; threshold chosen oracle.\n\n"
        "Quoted, not measured here: Table 4.\n\n"
        "Recipe: toy with `x=1`, `y=2`.\n"
    )


def test_methods_that_are_not_run_are_lines_below_the_rows():
    study = make(rows=rows("a"), others={"CLIMS": 56.6}, quoted_from="Table 1")
    table = tabulate(study, THREE, name="n")
    lines = as_markdown(table).splitlines()
    assert lines[2] == "| row | mIoU % | sd | random seeds | quoted |"
    assert lines[5] == "| CLIMS | \N{EN DASH} | \N{EN DASH} |  | 56.6 |"
    assert "Quoted, not measured here: Table 1." in list(captions(table))
    last = list(csv.DictReader(as_csv(table).splitlines()))[-1]
    assert (last["quoted"], last["mean"], last["random_seed_2"]) == ("56.6", "", "")
    assert as_record(table, Path("x"))["rows"][-1]["runs"] == []


def test_a_row_of_another_protocol_says_so():
    odd = [result("b", seed, 50.0, crf="seeds", extra=1) for seed in range(3)]
    table = tabulate(
        make(rows=rows("b", "a", "c")),
        [*odd, *THREE, *(each._replace(row=Row(name="c")) for each in OTHER)],
        name="n",
    )
    assert table.protocol["crf"] == "none"  # of most rows, though the first has another
    lines = as_markdown(table).splitlines()
    assert lines[2].startswith("| row | mIoU % | sd | random seeds | protocol |")
    assert lines[3] == "| --- | ---: | ---: | ---: | --- |"
    assert lines[4] == "| b | **50.00** | 0.00 | 3 | crf seeds; extra 1 |"
    assert lines[5].endswith("| 3 |  |")


def test_signs_of_markdown_in_a_name_are_text():
    (one,) = [result("a|b *c* <d> x_y `e`", 0, 1.0)]
    study = make(rows=rows(one.row.name), random_seeds=[0])
    text = as_markdown(tabulate(study, [one], name="n"))
    assert r"| a\|b \*c\* \<d> x\_y \`e\` | 1.00 |" in text


def test_thresholds_of_a_score_count_only_where_they_were_given():
    fixed = result("a", 0, 1.0, threshold=0.15, threshold_chosen="fixed")
    free = result("a", 0, 1.0, threshold=0.3, threshold_chosen="label_free")
    study = make(rows=rows("a"), random_seeds=[0])
    told = [tabulate(study, [each], name="n").protocol for each in (fixed, free)]
    assert told[0]["threshold"] == 0.15
    assert "threshold" not in told[1]


def test_csv_and_json_hold_every_value():
    study = make(rows=rows("a", "b"), quoted={"a": 60}, quoted_from="x")
    table = tabulate(study, THREE + OTHER, name="n")
    first, second = csv.DictReader(as_csv(table).splitlines())
    assert first.pop("protocol") == second.pop("protocol")
    assert first == {
        "row": "a", "group": "", "mean": "43.0", "sd": "3.0", "num_random_seeds": "3",
        "quoted": "60.0", "background_called_object": "", "random_seed_0": "40.0",
        "random_seed_1": "43.0", "random_seed_2": "46.0",
    }  # fmt: skip
    record = as_record(table, Path("work/studies/n-1"))
    assert record["rows"][1]["runs"][2] == {
        "random_seed": 2,
        "miou": 44.0,
        "summary": "../../runs/x-0/summary.json",
    }
    assert record["rows"][0]["protocol"] == table.protocol


# the figure


SVG = "{http://www.w3.org/2000/svg}"


def test_the_figure_has_a_dot_for_every_score():
    spots = [Spot("a <&> b", (40.0, 43.0, 46.0), is_best=True), Spot("c", (41.0,))]
    chart = spread_chart(spots, title="T: mIoU", caption=f"{'x' * 60} {'y' * 60}")
    root = ElementTree.fromstring(chart)
    first, second = root.findall(f"{SVG}g")
    assert first.find(f"{SVG}title").text == "a <&> b: 43.00"
    # the axis goes from 40 to 46, and 604 units are 6 %; 43 - 3 and 43 + 3 are its ends
    assert [float(dot.get("cx")) for dot in first.findall(f"{SVG}circle")] == [
        16.0, 318.0, 620.0,
    ]  # fmt: skip
    line = first.find(f"{SVG}line")
    assert (line.get("x1"), line.get("x2")) == ("16.0", "620.0")
    assert second.find(f"{SVG}line") is None
    corners = second.find(f"{SVG}polygon").get("points").split()
    assert float(corners[0].split(",")[0]) == pytest.approx(16 + 604 / 6, abs=0.05)
    texts = [each.text for each in root.findall(f"{SVG}text")]
    assert texts == ["T: mIoU", *map(str, range(40, 47)), "x" * 60, "y" * 60]


def test_a_figure_without_a_score_says_so():
    chart = spread_chart([Spot("a" * 200, (None, None))], title="T")
    (row,) = ElementTree.fromstring(chart).findall(f"{SVG}g")
    name, text = row.findall(f"{SVG}text")
    assert text.text == "undefined"
    assert name.text == "a" * 91 + "\N{HORIZONTAL ELLIPSIS}"


@pytest.mark.parametrize(
    ("scores", "low", "high", "step"),
    [
        ([], 0.0, 100.0, 20.0),
        ([40.0, 46.0], 40.0, 46.0, 1.0),
        ([0.0, 100.0], 0.0, 100.0, 20.0),
        ([37.3, 38.1], 37.2, 38.2, 0.2),
        ([50.0], 49.4, 50.6, 0.2),
    ],
)
def test_axes_hold_their_scores_in_round_steps(scores, low, high, step):
    axis = fit_axis(scores)
    assert axis == pytest.approx((low, high, step))
    assert len(axis.ticks) <= 9


# what is shipped


def test_the_tables_of_the_paper_are_shipped():
    assert [path.stem for path in SHIPPED] == [
        "ca-cl-irnet", "ca-cl-losses", "ca-cl-modules", "ca-cl-num-templates",
        "ca-cl-num-words", "ca-cl-suppression", "ca-cl-table-1", "ca-cl-table-2",
        "ca-cl-table-3", "ca-cl-templates", "voc-mini-ca-cl",
    ]  # fmt: skip


def on(world):
    """Return what puts a study of CA-CL on another folder of scenes."""
    prompts = f"voters.ca_cl.prompts.classes={world / 'prompts.toml'}"
    return [f"data.root={world}", prompts]


@pytest.fixture(scope="module")
def shipped(world):
    """The runs of every study of CA-CL with its first random seed, by row."""
    found = {}
    for path in SHIPPED:
        study = load_study(path).model_copy(update={"random_seeds": (0,)})
        trials = list_trials(study, on(world))
        found[path.stem] = {trial.row.name: trial for trial in trials}
    return found


@pytest.mark.parametrize(
    ("name", "num_rows", "random_seeds"),
    [
        ("ca-cl-templates", 6, (0, 1, 2)),
        ("ca-cl-modules", 5, (0, 1, 2)),
        ("ca-cl-suppression", 2, (0, 1, 2)),
        ("ca-cl-losses", 4, (0, 1, 2)),
        ("ca-cl-irnet", 4, (0, 1, 2)),
        ("ca-cl-num-templates", 31, (0,)),
        ("ca-cl-num-words", 5, (0,)),
        ("voc-mini-ca-cl", 11, (0, 1, 2)),
        ("ca-cl-table-1", 3, (0,)),
        ("ca-cl-table-2", 1, (0,)),
        ("ca-cl-table-3", 1, (0,)),
    ],
)
def test_a_shipped_study_has_rows_that_differ(shipped, name, num_rows, random_seeds):
    assert load_study(Path(name)).random_seeds == random_seeds
    trials = shipped[name].values()
    recipes = {(each.recipe.model_dump_json(), str(each.score)) for each in trials}
    assert len(recipes) == len(shipped[name]) == num_rows


def test_the_study_of_irnet_shares_its_voters(world, tmp_path):
    study = load_study(Path("irnet")).model_copy(update={"random_seeds": (0,)})
    planned = plan_study(study, tmp_path, overrides=[f"data.root={world}"])
    made = {
        each.trial.row.name: [artifact.stage for artifact in each.todo]
        for each in planned
    }
    assert [stages.count("localize") for stages in made.values()] == [2, 0, 0, 0, 0, 0]
    assert [stages.count("irnet") for stages in made.values()] == [0, 2, 0, 0, 0, 0]
    assert [stages.count("refine") for stages in made.values()] == [0, 2, 2, 2, 0, 0]
    assert made["IRNet after the vote, then a CRF"].count("vote_irnet") == 1


def test_the_study_of_the_union_trains_each_method_once(world, tmp_path):
    study = load_study(Path("union")).model_copy(update={"random_seeds": (0,)})
    planned = plan_study(study, tmp_path, overrides=on(world))
    trained = [
        [artifact.stage for artifact in each.todo].count("localize") for each in planned
    ]
    # two classifiers, of which CA-CL starts from one; all of them for both methods
    assert sum(trained) == 3
    assert trained[-1] == 0


@pytest.fixture(scope="module")
def modules(world):
    """The plan of ca-cl-modules, artifacts by row."""
    study = load_study("ca-cl-modules").model_copy(update={"random_seeds": (0,)})
    planned = plan_study(study, world.parent / "none", overrides=on(world))
    return {each.trial.row.name: each for each in planned}


def test_shipped_studies_show_scores_that_there_are(shipped, modules):
    planned = {str(each.trial.score) for each in modules.values()}
    shown = {
        str(each.score)
        for name, rows in shipped.items()
        for each in rows.values()
        if load_study(Path(name)).recipe == "toy-ca-cl"
    }
    assert planned == {"cam warm-0.05-1", "cam ca_cl-1"}
    assert shown == {*planned, "vote vote"}


def test_the_warm_start_is_that_of_the_taught_voter(modules):
    networks = {
        row: {each for each in planned.artifacts if each.stage == "localize"}
        for row, planned in modules.items()
    }
    warm = networks.pop("warm start")
    assert len(warm) == 1
    assert [warm < taught for taught in networks.values()] == [True, True, True, True]


def test_the_recipe_as_it_is_is_one_run_for_all_studies(shipped):
    four = "a photo of {}. + an image of {}. + a picture of {}. + a snapshot of {}."
    whole = {
        "ca-cl-templates": "DCPS: all but origami",
        "ca-cl-modules": "DCPS + ITCL + CSBS",
        "ca-cl-losses": "ITC + BGS + REG",
        "ca-cl-irnet": "IRNet, then a CRF",
        "ca-cl-suppression": "with CSBS",
        "ca-cl-num-templates": f"templates = {four}",
        "ca-cl-num-words": "words = 5",
    }
    found = {shipped[name][row].recipe.model_dump_json() for name, row in whole.items()}
    assert len(found) == 1


# figures of classes and of images


def test_a_bar_is_as_long_as_its_score():
    chart = class_chart({"a<b": {"cat": 50.0, "dog": None}}, title="T")
    # 500 of the 680 pixels are for 0 to 100
    assert 'width="250.0"' in chart
    assert chart.count("<rect") == 2  # one bar and one key of colours
    assert "a&lt;b" in chart
    assert "dog" in chart


def test_more_rows_than_colours_have_no_chart_of_classes():
    rows = {str(number): {"cat": 1.0} for number in range(9)}
    assert class_chart(rows, title="T") is None
    assert class_chart({}, title="T") is None
