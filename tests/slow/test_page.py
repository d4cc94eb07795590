"""The page in a true browser: Debian's Chromium, driven by playwright.

Looks for axe-core's script in AXE_CORE (``npm pack axe-core`` has it in
``package/axe.min.js``); without it that test is skipped.
"""

import base64
import csv
import io
import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

AXE_CORE = os.environ.get("AXE_CORE")
MARKUP = '<img src=x onerror="window.hacked=1"> & <b>'
DROP = """
([name, content]) => {
  const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type: "image/png" }));
  const event = (kind) =>
    new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: transfer });
  const target = document.getElementById("drop");
  target.dispatchEvent(event("dragover"));
  target.dispatchEvent(event("drop"));
}
"""
PIXELS = """
() => {
  const mask = document.getElementById("mask");
  const { data } = mask.getContext("2d").getImageData(0, 0, mask.width, mask.height);
  return [mask.width, mask.height, Array.from(data)];
}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory, recipe_file):
    """A server over a copy of a run whose classes have markup for names."""
    import uvicorn

    from tag2mask import Runtime, load_recipe, run, write_toy_world
    from tag2mask.serve.app import make_app
    from tag2mask.serve.limits import Limits
    from tag2mask.serve.server import open_service
    from tag2mask.serve.task_images import TaskImages

    root = tmp_path_factory.mktemp("page") / "world"
    write_toy_world(root, num_train=16, num_val=4, random_seed=0, size=48)
    classes = (root / "classes.txt").read_text()
    (root / "classes.txt").write_text(classes.replace("boat", MARKUP))
    with (root / "tags.csv").open(newline="") as stream:
        rows = [
            [each.replace("boat", MARKUP) for each in row] for row in csv.reader(stream)
        ]
    with (root / "tags.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    recipe = load_recipe(recipe_file, [f"data.root={root}"])
    summary = run(recipe, root.parent / "work", runtime=Runtime(workers=1))
    service = open_service(
        summary,
        {},
        limits=Limits(),
        task_images=TaskImages(None, None, 10**6),
        runtime=Runtime(workers=1),
    )
    settings = uvicorn.Config(
        make_app(service, token="key"), port=0, log_level="warning", ws="none"
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}", root, service
    server.should_exit = True
    thread.join()


@pytest.fixture(params=["light", "dark"])
def page(browser, served, request):
    """The page, past its question for the token; nothing outside may be asked."""
    address, *_ = served
    context = browser.new_context(color_scheme=request.param)
    found = context.new_page()
    outside, errors = [], []
    own = (address, f"blob:{address}")
    found.on(
        "request", lambda r: None if r.url.startswith(own) else outside.append(r.url)
    )
    found.on("pageerror", lambda error: errors.append(str(error)))
    found.goto(address)
    found.wait_for_selector("#token-dialog[open]")
    found.keyboard.type("key")
    found.keyboard.press("Enter")
    found.wait_for_selector("#predict:not([hidden])")
    yield found
    assert outside == []
    assert errors == []
    assert found.evaluate("window.hacked") is None
    context.close()


def drop_image(page, root):
    content = (root / "images" / "val_00000.png").read_bytes()
    page.evaluate(DROP, ["val_00000.png", base64.b64encode(content).decode()])
    page.wait_for_selector("#result:not([hidden])")
    return content


def shown_mask(page):
    width, height, data = page.evaluate(PIXELS)
    return np.array(data, np.uint8).reshape(height, width, 4)


def test_an_image_is_dropped_its_classes_toggled_its_mask_saved(page, served):
    _, root, service = served
    content = drop_image(page, root)
    mask = shown_mask(page)
    with page.expect_download() as saving:
        page.click("#save-png")
    assert saving.value.suggested_filename == "val_00000.png"
    with Image.open(saving.value.path()) as picture:
        labels, palette = np.array(picture), np.array(picture.getpalette())
    expected = palette.reshape(-1, 3)[labels]
    assert np.array_equal(mask[labels > 0][:, :3], expected[labels > 0])
    assert np.array_equal(mask[..., 3], np.where(labels > 0, 255, 0))
    with page.expect_download() as saving:
        page.click("#save-json")
    record = json.loads(Path(saving.value.path()).read_text())
    assert [each["id"] for each in record["classes"]] == np.unique(labels).tolist()
    boxes = page.locator("#classes input")
    assert boxes.count() == len(np.unique(labels[labels > 0])) > 0
    boxes.first.focus()
    page.keyboard.press("Space")
    gone = shown_mask(page)
    assert (gone[..., 3] > 0).sum() < (mask[..., 3] > 0).sum()
    page.keyboard.press("Space")
    assert np.array_equal(shown_mask(page), mask)
    page.fill("#opacity", "25")
    opacity = "getComputedStyle(document.getElementById('mask')).opacity"
    assert page.evaluate(opacity) == "0.25"
    said = page.inner_text("#message")
    assert said.startswith("Found in val_00000.png: ")
    with Image.open(io.BytesIO(content)) as picture:
        assert mask.shape[:2] == (picture.height, picture.width)
    names = page.locator("#classes label").all_inner_texts()
    assert set(names) <= set(service.served.segmenter.class_names)


def test_a_file_that_is_no_image_is_told(page):
    file = {"name": "a.png", "mimeType": "image/png", "buffer": b"no"}
    page.set_input_files("#file", file)
    page.wait_for_selector("#message.failed")
    assert "a.png: this is no image" in page.inner_text("#message")


def test_a_mark_is_set_and_taken_back_by_keyboard(page, served):
    from playwright.sync_api import expect

    _, root, _ = served
    page.click('nav a[href="#review"]')
    page.wait_for_selector("article img[src]")
    expect(page.locator("article")).to_have_count(12)
    page.click("#more")
    expect(page.locator("article")).to_have_count(16)
    options = page.locator("#filter-class option").all_inner_texts()
    assert MARKUP in options
    button = page.locator("article button").first
    name = page.locator("article h3").first.inner_text()
    button.focus()
    for pressed, mark in (("true", "leave_out"), ("false", "keep")):
        page.keyboard.press("Enter")
        expect(button).to_have_attribute("aria-pressed", pressed)
        last = (root / "review.jsonl").read_text().splitlines()[-1]
        assert (json.loads(last)["image"], json.loads(last)["mark"]) == (name, mark)
    page.select_option("#filter-stage", "vote")
    expect(page.locator("article").first.locator("figure")).to_have_count(2)


@pytest.mark.skipif(not AXE_CORE, reason="AXE_CORE names no axe.min.js")
def test_axe_finds_no_violation(page, served):
    _, root, _ = served
    page.evaluate(Path(AXE_CORE).read_text())
    drop_image(page, root)
    found = page.evaluate("axe.run()")["violations"]
    page.click('nav a[href="#review"]')
    page.wait_for_selector("article img[src]")
    found += page.evaluate("axe.run()")["violations"]
    assert [(each["id"], each["impact"]) for each in found] == []
