"""The page in a real headless Chromium: keys alone, resume, CSV, no request, no error, at two widths."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from reader_study.helpers import page_data

import lightning_distill
from lightning_distill.reader_study import read_answers, score_answers

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright (extra test) is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium")
WIDTHS = (1280, 400)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as driver:
        try:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        except sync_api.Error as error:
            pytest.skip(f"Chromium does not start: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """A function that opens a page and fails the test for any console message, error or request."""
    seen, contexts = [], []

    def visit(folder, width=1280, context=None, script=None, name="study.html"):
        if context is None:
            context = browser.new_context(viewport={"width": width, "height": 800}, accept_downloads=True)
            contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: seen.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.on("request", lambda request: seen.append(request.url) if request.url.startswith(("http", "ws")) else None)
        if script:
            page.add_init_script(script)
        page.goto((folder / name).as_uri())
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not seen


def begin(page, reader="R1"):
    """Choose the code and begin, by keys alone: the choice has the focus."""
    page.keyboard.type(reader)
    page.keyboard.press("Enter")


def practise(page, key="s"):
    """Answer the practice block; return the texts of its feedback."""
    texts = []
    while page.locator("#progress-text").inner_text().startswith("Practice"):
        press = [key, "3"] if key in "rs" else [key]
        for one in press:
            page.keyboard.press(one)
        texts.append(page.locator("#feedback").inner_text())
        page.keyboard.press("Enter")
    return texts


def download(page, path):
    with page.expect_download() as arriving:
        page.keyboard.press("d")
    arriving.value.save_as(path)
    assert re.fullmatch(r"reader-study_[0-9a-f]{8}_R\d\.csv", arriving.value.suggested_filename)
    return path


def shown_images(page):
    return [image.get_attribute("src") for image in page.locator("#images img").all()]


def truth_of(folder, key, page):
    """Truth of the image that is shown."""
    (source,) = shown_images(page)
    (name,) = [name for name, uri in page_data(folder)["images"].items() if uri == source]
    return key.images[name]["truth"]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_reader_who_sees_the_truth_scores_full_marks_by_keys_alone(make_study, visit, tmp_path, width):
    folder, key = make_study(items=6, repeats=4, practice=3)
    page = visit(folder, width)
    begin(page)
    assert page.locator("#progress-text").inner_text() == "Practice image 1 of 3"
    texts = practise(page)
    assert len(texts) == 3
    assert all(re.fullmatch(r"(Right: this image is synthetic|No: this image is real)\.", text) for text in texts)
    assert page.locator("#progress-text").inner_text() == "Image 1 of 16"
    while not page.locator("#end").is_visible():
        page.keyboard.press(truth_of(folder, key, page)[0])
        page.keyboard.press("5")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "no sideways scrolling"
    assert page.evaluate("document.activeElement.id") == "finish"
    answers = read_answers([download(page, tmp_path / "R1.csv")], key)
    assert (answers.missing, answers.duplicates) == ({"R1": 0}, {})
    score = score_answers(answers, key, 200)[0]
    assert (score.accuracy, score.auc, score.self_agreement, score.repeats) == (1, 1, 1, 4)


@pytest.mark.parametrize("width", WIDTHS)
def test_pairs_by_arrow_keys(make_study, visit, tmp_path, width):
    folder, key = make_study(design="pairs", items=5, repeats=2, practice=2)
    page = visit(folder, width)
    begin(page, "R2")
    assert all("image is synthetic" in text for text in practise(page, "ArrowRight"))
    names = {uri: name for name, uri in page_data(folder)["images"].items()}
    sides = set()
    while not page.locator("#end").is_visible():
        left, _ = (key.images[names[uri]]["truth"] for uri in shown_images(page))
        sides.add(left)
        boxes = [image.bounding_box() for image in page.locator("#images img").all()]
        assert boxes[0]["y"] == boxes[1]["y"], "side by side at every width"
        page.keyboard.press("ArrowLeft" if left == "synthetic" else "ArrowRight")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    answers = read_answers([download(page, tmp_path / "R2.csv")], key)
    score = score_answers(answers, key, 200)[0]
    assert (score.reader, score.answers, score.accuracy) == ("R2", 5, 1)


def test_a_reader_goes_on_after_a_reload_and_another_one_begins_anew(make_study, visit, tmp_path):
    folder, key = make_study(items=6, practice=2)
    page = visit(folder)
    begin(page)
    practise(page)
    shown = []
    for _ in range(3):
        shown += shown_images(page)
        page.keyboard.press("r")
        page.keyboard.press("2")
    expected = shown_images(page)
    page.reload()
    begin(page)
    assert page.locator("#progress-text").inner_text() == "Image 4 of 16"
    assert shown_images(page) == expected
    page.keyboard.press("Backspace")
    assert shown_images(page) == shown[2:]
    page.keyboard.press("s")
    page.keyboard.press("1")
    answers = read_answers([download(page, tmp_path / "part.csv")], key)
    assert answers.missing == {"R1": 13}
    assert sorted(answer.answer for answer in answers.answers.values()) == ["real", "real", "synthetic"]
    other = visit(folder, context=page.context)
    begin(other, "R2")
    assert other.locator("#progress-text").inner_text() == "Practice image 1 of 2"


def orders(page, reader):
    begin(page, reader)
    practise(page)
    seen = []
    while not page.locator("#end").is_visible():
        seen += shown_images(page)
        page.keyboard.press("r")
        page.keyboard.press("3")
    return seen


def test_the_order_follows_the_reader_and_repeats_come_late(make_study, visit):
    folder, _ = make_study(items=10, repeats=6, practice=0)
    first, again, other = (orders(visit(folder), reader) for reader in ("R1", "R1", "R2"))  # three fresh browsers
    assert first == again
    assert first != other
    assert sorted(first) == sorted(other)
    places = [[i for i, uri in enumerate(first) if uri == shown] for shown in dict.fromkeys(first)]
    gaps = [place[1] - place[0] for place in places if len(place) == 2]
    assert len(gaps) == 6
    assert min(gaps) >= 2


@pytest.mark.parametrize(("items", "repeats"), [(2, 4), (2, 1), (10, 6), (10, 20)])
def test_no_image_follows_itself_for_any_reader(items, repeats, make_study, browser):
    _, key = make_study(items=items, repeats=repeats, practice=0)
    page = browser.new_page()
    order = (Path(lightning_distill.__file__).parent / "reader_study" / "order.js").read_text()
    trials = [{"id": name, "images": list(images)} for name, images in key.trials.items()]
    plans = page.evaluate(
        f"""{order}; (study) => [...Array(300).keys()].map((number) => readerOrder(
            {{ ...study, study: String(number) }}, "R1").plan.map((entry) => entry.trial + entry.showing))""",
        {"trials": trials, "repeats": list(key.repeats), "practice": []},
    )
    page.close()
    shown = sorted([f"{name}1" for name in key.trials] + [f"{name}2" for name in key.repeats])
    for plan in plans:
        assert sorted(plan) == shown
        assert min(plan.index(f"{name}2") - plan.index(f"{name}1") for name in key.repeats) >= 2
    assert len({tuple(plan) for plan in plans}) > 1


def test_pixels_are_squares_of_whole_device_pixels(make_study, visit, browser):
    folder, _ = make_study(items=3, repeats=0, practice=0)
    for scale in (1, 1.5):
        context = browser.new_context(viewport={"width": 700, "height": 700}, device_scale_factor=scale)
        page = visit(folder, context=context)
        begin(page)
        image = page.locator("#images img")
        box = image.bounding_box()
        zoom = box["width"] * scale / 12
        assert zoom == pytest.approx(round(zoom), abs=0.01)
        assert box["height"] * scale / 10 == pytest.approx(round(zoom), abs=0.01)
        assert page.evaluate("getComputedStyle(document.querySelector('#images img')).imageRendering") == "pixelated"
        context.close()


def test_a_browser_without_storage_says_so_and_asks_before_answers_are_lost(make_study, visit, tmp_path):
    folder, key = make_study(items=3, repeats=0, practice=0)
    broken = (
        "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('denied', 'SecurityError'); }})"
    )
    page = visit(folder, script=broken)
    begin(page)
    assert "This browser keeps no answers" in page.locator("#notice").inner_text()
    assert page.locator("#notice").get_attribute("role") == "alert"
    page.keyboard.press("s")
    page.keyboard.press("4")
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    page.close(run_before_unload=True)
    page.wait_for_timeout(300)
    assert asked == ["beforeunload"]
    assert read_answers([download(page, tmp_path / "one.csv")], key).missing == {"R1": 5}


def test_damaged_answers_are_left_out_and_said(make_study, visit):
    folder, key = make_study(items=3, repeats=0, practice=0)
    page = visit(folder)
    for damaged in ("{", '{"answers": [{"trial": "x"}]}', "null"):
        page.evaluate("([place, text]) => localStorage.setItem(place, text)", [f"reader-study/{key.study}/R1", damaged])
        page.reload()
        begin(page)
        assert page.locator("#notice").is_visible() == (damaged != "null")
        assert page.locator("#progress-text").inner_text() == "Image 1 of 6"


def test_a_page_with_fewer_images_than_stated_does_not_begin(make_study, visit):
    folder, _ = make_study(items=3, repeats=0, practice=0)
    text = (folder / "study.html").read_text()
    (folder / "short.html").write_text(text.replace('"stated": 6', '"stated": 7'))
    page = visit(folder, name="short.html")
    assert "This page is damaged: it states 7 images" in page.locator("#notice").inner_text()
    assert not page.locator("#start").is_visible()


def test_answers_by_mouse_and_held_keys(make_study, visit):
    folder, _ = make_study(items=3, repeats=0, practice=0)
    page = visit(folder, 400)
    page.select_option("#reader", "R3")
    page.click("#begin")
    assert page.locator('[data-level="1"]').is_disabled(), "confidence comes after the answer"
    page.keyboard.press("5")
    assert page.locator("#progress-text").inner_text() == "Image 1 of 6"
    page.click('[data-answer="real"]')
    assert page.locator('[data-answer="real"]').get_attribute("aria-pressed") == "true"
    page.click('[data-answer="synthetic"]')
    page.click('[data-level="2"]')
    assert page.locator("#progress-text").inner_text() == "Image 2 of 6"
    page.keyboard.press("r")
    page.keyboard.down("3")
    page.keyboard.down("3")  # held down: repeats do not count
    assert page.locator("#progress-text").inner_text() == "Image 3 of 6"


def test_every_control_has_a_name_and_the_focus_is_seen(make_study, visit):
    folder, _ = make_study(items=3, repeats=0, practice=1)
    page = visit(folder)
    assert page.get_by_label("Your reader code").count() == 1
    assert page.get_by_role("heading", name="Real or synthetic?").count() == 1
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    begin(page)
    assert page.get_by_role("progressbar", name="Practice image 1 of 1").count() == 1
    for name in ("Real R", "Synthetic S", "1, a guess", "5, certain", "Download answers D"):
        assert page.get_by_role("button", name=name, exact=True).count() == 1, name
    assert page.locator("#images img").get_attribute("alt")
    assert page.locator("html").get_attribute("lang") == "en"


def luminance(colour):
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize(
    ("text", "ground"),
    [("ink", "paper"), ("muted", "paper"), ("ink", "raised"), ("dark", "accent"), ("warn-ink", "warn")],
)
def test_text_has_the_contrast_of_wcag(make_study, text, ground):
    folder, _ = make_study(items=3, repeats=0)
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", (folder / "study.html").read_text()))
    bright, dim = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)
    assert (bright + 0.05) / (dim + 0.05) >= 4.5
