"""Lists and names from others lead nowhere, and are shown as text."""

import json

import pytest

from tag2mask.errors import DatasetError, ModelError
from tag2mask.models.locate import locate_segmenter
from tag2mask.pipeline.statistics import Table, write_statistics
from tag2mask.prediction import evaluate_folders, read_list


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../b"])
def test_a_list_of_names_cannot_lead_out_of_its_folder(tmp_path, name):
    names = tmp_path / "names.txt"
    names.write_text(f"a\n{name}\n")
    with pytest.raises(DatasetError, match="is no image's name"):
        read_list(names)


@pytest.mark.parametrize("content", [5, ["a", 1], {"a": 1}])
def test_class_names_beside_label_maps_must_be_a_list(tmp_path, content):
    (tmp_path / "classes.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="expected a list of class names"):
        evaluate_folders(tmp_path, tmp_path)


@pytest.mark.parametrize(
    "record",
    [
        [],
        {"artifacts": {"segment": 5}, "recipe": {"predict": {}}},
        {"artifacts": {"segment": "a"}, "recipe": {"predict": "ab"}},
        {"artifacts": 1},
    ],
)
def test_a_summary_of_a_strange_shape_is_told(tmp_path, record):
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(record))
    with pytest.raises(ModelError, match="is no summary of a run"):
        locate_segmenter(path)


def test_names_in_tables_of_statistics_are_text(tmp_path):
    table = Table("quality", "Quality", ("labels", "IoU"), [["=1|<b>", -1.0]])
    write_statistics([table], tmp_path)
    assert (tmp_path / "quality.csv").read_text() == "labels,IoU\n'=1|<b>,-1.0\n"
    assert "| =1\\|\\<b> |" in (tmp_path / "statistics.md").read_text()


def test_a_summary_of_a_name_that_no_disk_can_have_is_told(tmp_path):
    path = tmp_path / "summary.json"
    record = {"artifacts": {"segment": "a" * 400}, "recipe": {"predict": {}}}
    path.write_text(json.dumps(record))
    with pytest.raises(ModelError, match="its segmenter cannot be read"):
        locate_segmenter(path)
