import pytest
from hypothesis import given
from hypothesis import strategies as st

from tag2mask.data.classes import (
    ORIGAMI_TEMPLATE,
    TEMPLATES,
    ClassPrompts,
    background_prompts,
    check_template,
    context_prompts,
    describe_classes,
    without_classes,
)

words = st.lists(st.text(min_size=1), max_size=7)
templates = st.lists(
    st.tuples(st.text("ab{ }"), st.text("ab{ }"))
    .map("{}".join)
    .filter(lambda text: text.count("{}") == 1),
    min_size=1,
    max_size=5,
)


def test_a_prompt_for_each_template():
    assert context_prompts(["train"], TEMPLATES) == (
        "a photo of train.",
        "an image of train.",
        "a picture of train.",
        "a snapshot of train.",
    )
    assert context_prompts(["cow"], [ORIGAMI_TEMPLATE]) == ("a clean origami cow.",)


def test_synonyms_share_a_prompt():
    found = context_prompts(["person", "people", "human"], TEMPLATES[:1])
    assert found == ("a photo of person, people, human.",)


def test_background_prompts_go_word_by_word_and_the_knob_is_alive():
    rails, platform = background_prompts(["rails", "platform", "sky"], ["a {}."], 2)
    assert (rails, platform) == ("a rails.", "a platform.")
    two = background_prompts(["rails", "sky"], ["a {}.", "the {}."], 5)
    assert two == ("a rails.", "the rails.", "a sky.", "the sky.")


@given(words, templates, st.integers(1, 9))
def test_there_are_m_times_n_background_prompts(words, templates, num_words):
    found = background_prompts(words, templates, num_words)
    used = words[:num_words]
    assert len(found) == len(templates) * len(used)
    each = [context_prompts([word], templates) for word in used]
    assert found == tuple(prompt for group in each for prompt in group)


@given(st.text(min_size=1))
def test_a_name_goes_in_as_it_is(name):
    assert context_prompts([name], ["<{}>"]) == (f"<{name}>",)


@pytest.mark.parametrize("template", ["a photo.", "{} and {}", "a {0}.", "a {name}."])
def test_template_without_one_place_is_refused(template):
    message = (
        rf"has {{}} once, where the name goes, .*got .* with {template.count('{}')}"
    )
    with pytest.raises(ValueError, match=message):
        check_template(template)
    with pytest.raises(ValueError, match=message):
        context_prompts(["cat"], [TEMPLATES[0], template])
    with pytest.raises(ValueError, match=message):
        background_prompts(["sky"], [template], 5)


@pytest.mark.parametrize("template", [*TEMPLATES, ORIGAMI_TEMPLATE])
def test_our_templates_are_fit(template):
    assert check_template(template) == template


def test_nothing_to_put_together_is_refused():
    with pytest.raises(ValueError, match="needs a name to be put into prompts"):
        context_prompts([], TEMPLATES)
    with pytest.raises(ValueError, match="expected a template such as 'a photo"):
        context_prompts(["cat"], [])
    with pytest.raises(ValueError, match="num_words must be at least 1, got 0"):
        background_prompts(["sky"], TEMPLATES, 0)
    assert background_prompts([], TEMPLATES, 5) == ()


def test_background_class_has_no_prompts_and_order_is_that_of_ids():
    found = describe_classes(["background", "train", "boat"], preset="plain")
    assert [each.tag for each in found] == ["train", "boat"]
    assert found == describe_classes(["train", "boat"], preset="plain")


def test_unknown_class_has_its_own_name_and_no_background():
    found = describe_classes(["red_blood_cell", "Ölbaum", "_"], preset="clip_es")
    assert found == (
        ClassPrompts("red_blood_cell", ("red blood cell",), ()),
        ClassPrompts("Ölbaum", ("Ölbaum",), ()),
        ClassPrompts("_", ("_",), ()),
    )


def test_background_words_that_are_classes_of_the_data_are_left_out():
    (boat,) = describe_classes(["boat"], preset="plain")
    assert boat.background[:3] == ("water", "harbor", "sea")
    with_water, *_ = describe_classes(["boat", "Water", "docks"], preset="plain")
    left = tuple(word for word in boat.background if word not in ("water", "dock"))
    assert with_water.background == left


@pytest.mark.parametrize(
    ("word", "is_left"),
    [
        ("bus", False),
        ("bus stop", False),
        ("business", True),
        ("railway", True),
        ("sea coach", False),  # a synonym that no preset in use has
        ("hot-dog stand", False),
        ("dog", True),
    ],
)
def test_words_that_mention_a_class(word, is_left):
    classes = describe_classes(["bus", "hot_dog"], preset="plain")
    assert without_classes([word], classes) == ((word,) if is_left else ())


def test_words_that_mention_a_name_of_the_users_are_left_out():
    classes = [ClassPrompts("k1", ("olive tree",), ())]
    found = without_classes(["sky", "Olive Trees", "tree", "k1"], classes)
    assert found == ("sky", "tree")
