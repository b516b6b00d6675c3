"""The page in a real browser: it opens from disk, says nothing on the console, and its controls work."""

import json
import re

import pytest

from boxwright.data import synth
from boxwright.engine.evaluation import DataSource
from boxwright.errors import DatasetError
from boxwright.evaluation import evaluate_coco
from boxwright.report.page import Report, render, write_report
from boxwright.report.study import Results, study_results
from tests.report.browser import COMMAND, open_browser

needs_browser = pytest.mark.skipif(COMMAND is None, reason="no Chromium here: apt-get install chromium")
TABS = ("overview", "classes", "scores", "errors", "confusion", "images")


@pytest.fixture(scope="module")
def written(scene, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    report = study_results(
        Results(
            path=scene / "results.json",
            title="Shapes & <others>",
            training={"train: loss": [[0, 10, 20], [3.0, 2.0, 1.5]], "val: box.ap": [[20], [0.4]]},
        ),
        DataSource(scene / "val.json"),
        compare=scene / "fewer.json",
        num_resamples=50,
    )
    write_report(report, path)
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def payload_of(path):
    text = re.search(r'id="data">(.*?)</script>', path.read_text(), re.DOTALL)
    return json.loads(text.group(1))


def test_the_page_holds_the_official_figures_and_needs_nothing_else(scene, written):
    scores = evaluate_coco(scene / "val.json", scene / "results.json")
    payload = payload_of(written)
    assert list(payload["kinds"]) == ["box", "mask"]
    for figures in scores:
        shown = {name: value for name, value, _ in payload["kinds"][figures.kind]["figures"]}
        assert shown["AP50"] == pytest.approx(figures.ap50, abs=1e-4)
        assert payload["kinds"][figures.kind]["ap"] == pytest.approx(list(figures.per_class.values()), abs=1e-4)
    page = written.read_text()
    assert not re.findall(r"(?:src|href)=[\"'](?!data:)", page)
    assert "http://www.w3.org/2000/svg" in page
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", page) == []
    assert len(page.encode()) < 15_000_000


def test_text_of_the_data_cannot_leave_its_place():
    page = render({"title": "</script><script>alert(1)</script>"}, title="<b>&")
    assert "<script>alert" not in page
    assert "<title>&lt;b&gt;&amp;</title>" in page


@pytest.mark.parametrize("text", ["x/*DATA*/", "/*STYLE*/ {{title}} /*SCRIPT*/", "\\1 \\n"])
def test_a_title_may_hold_what_marks_places_in_the_page(text):
    page = render({"title": text}, title=text)
    assert f"<title>{text}</title>" in page
    assert json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1]) == {"title": text}


def test_a_page_of_nothing_is_refused(tmp_path, scene):
    report = study_results(Results(path=scene / "results.json"), DataSource(scene), num_resamples=2)
    with pytest.raises(DatasetError, match="there is nothing to report"):
        write_report(
            Report(title="", source="", ground_truth=report.ground_truth, analyses={}), tmp_path / "report.html"
        )


def test_the_page_stays_small_however_many_images_there_are(tmp_path, scene):
    """Room for 20 kB of pictures: images are left out, the rest is there."""
    report = study_results(Results(path=scene / "results.json"), DataSource(scene / "val.json"), num_resamples=2)
    size = write_report(report, tmp_path / "report.html", picture_bytes=20_000)
    shown = payload_of(tmp_path / "report.html")["kinds"]["box"]["images"]
    assert 0 < len(shown) < 10
    assert size < 250_000


@needs_browser
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_every_tab_opens_without_a_word_on_the_console(written, browser, width, dark):
    browser.messages.clear()
    browser.requests.clear()
    browser.open(written, width=width, dark=dark)
    for tab in (*TABS, "training"):
        browser.click(f"#tab-{tab}")
        assert browser.run("document.querySelector('[aria-selected=true]').id") == f"tab-{tab}"
        assert browser.count("#panel > *") > 0
        assert browser.run("document.documentElement.scrollWidth <= innerWidth"), f"{tab} is wider than the screen"
    assert browser.messages == []
    assert all(request.startswith("file:") for request in browser.requests)


@needs_browser
def test_title_and_kinds(written, browser):
    browser.open(written)
    assert browser.text("#title") == "Shapes & <others>"
    boxes = browser.text(".tiles.main")
    browser.click("[data-kind=mask]")
    assert browser.run("document.querySelector('[aria-pressed=true]').dataset.kind") == "mask"
    assert browser.text(".tiles.main") != boxes
    payload = payload_of(written)
    ap = payload["kinds"]["mask"]["figures"][0][1]
    assert f"{100 * ap:.1f}" in browser.text(".tiles.main")


@needs_browser
def test_the_table_of_classes_sorts_filters_and_chooses(written, browser):
    browser.open(written, fragment="#classes")
    names = "[...document.querySelectorAll('tbody tr')].map(row => row.cells[0].innerText)"
    by_ap = payload_of(written)
    aps = dict(zip(by_ap["classes"], by_ap["kinds"]["box"]["ap"], strict=True))
    found = browser.run(names)
    assert [aps[name] for name in found] == sorted(aps.values(), reverse=True)
    browser.click("th:nth-child(1) button")
    assert browser.run(names) == sorted(aps)
    browser.click("th:nth-child(1) button")
    assert browser.run(names) == sorted(aps, reverse=True)
    browser.put("#query", "squ")
    assert browser.run(names) == ["square"]
    assert browser.run("document.activeElement.id") == "query"
    browser.click("tbody tr")
    assert browser.run("document.getElementById('class').selectedOptions[0].text") == "square"
    browser.put("#query", "nothing like it")
    assert browser.text(".empty") == "No class has this in its name."


@needs_browser
def test_the_score_slider_changes_what_is_counted(scene, written, browser):
    """At the lowest score every detection is kept: the tiles say what the figures at IoU 0.5 say."""
    browser.open(written, fragment="#scores")
    browser.put("#threshold", "0")
    tiles = dict(zip(*[iter(browser.text("#at-threshold").split())] * 2, strict=True))
    payload = payload_of(written)
    curves = payload["kinds"]["box"]["curves"]
    assert int(tiles["Right"]) == sum(curve["tp"][-1] for curve in curves if curve["tp"])
    kept = json.loads((scene / "results.json").read_text())
    assert int(tiles["Right"]) + int(tiles["Wrong"]) == len(kept)
    assert int(tiles["Right"]) + int(tiles["Missed"]) == payload["numObjects"]
    browser.put("#threshold", "1")
    assert "Right\n0" in browser.text("#at-threshold")
    browser.click("#best")
    assert 0 < float(browser.text("#threshold-value")) < 1


@needs_browser
def test_images_follow_the_class_the_score_and_the_switches(written, browser):
    browser.open(written, fragment="#images")
    shots = browser.count(".shot")
    assert shots == len(payload_of(written)["kinds"]["box"]["images"]) > 3
    assert browser.run("document.querySelector('.shot image').href.baseVal").startswith("data:image/jpeg;base64,")
    assert browser.count(".picture .missed") > 0
    browser.click("[data-look=missed]")
    assert browser.count(".picture .missed") == 0
    found = browser.count(".picture .right, .picture .wrong")
    browser.put("#threshold", "0.99")
    assert browser.count(".picture .right, .picture .wrong") == 0 < found
    browser.put("#class", "0")
    assert 0 < browser.count(".shot") < shots
    browser.put("#class", "-1")
    browser.put("#order", "most missed")
    missed = browser.run("[...document.querySelectorAll('.shot .counts .missed')].map(e => parseInt(e.innerText))")
    assert missed == sorted(missed, reverse=True)
    first = browser.text(".shot b")
    browser.click(".shot")
    assert browser.run("document.getElementById('viewer').open")
    assert browser.text("#viewer .bar b") == first
    browser.run("document.querySelector('#viewer .bar button:nth-of-type(2)').click()")
    assert browser.text("#viewer .bar b") != first
    browser.run("document.querySelector('#viewer .bar button:nth-of-type(3)').click()")
    assert not browser.run("document.getElementById('viewer').open")


@needs_browser
def test_a_cell_of_the_confusion_tells_what_it_counts(written, browser):
    browser.open(written, fragment="#confusion")
    browser.click("#matrix .cell.self")
    assert re.fullmatch(r"\w+ found as \w+: \d+, [\d.]+% of the row", browser.text("#told"))


@needs_browser
def test_keypoints_without_pictures_are_drawn_all_the_same(tmp_path, browser):
    synth.generate(tmp_path, kind="figures", images=4, seed=1, size=128, val_fraction=1.0)
    content = json.loads((tmp_path / "val.json").read_text())
    results = [
        {"image_id": r["image_id"], "category_id": r["category_id"], "score": 0.5 + i % 3 / 10, "bbox": r["bbox"],
         "keypoints": [v + 9 * (i % 2) for v in r["keypoints"]]}
        for i, r in enumerate(content["annotations"]) if r.get("num_keypoints")
    ]  # fmt: skip
    (tmp_path / "found.json").write_text(json.dumps(results))
    (tmp_path / "elsewhere").mkdir()
    found, source = Results(path=tmp_path / "found.json"), DataSource(tmp_path / "val.json")
    report = study_results(found, source, kinds=["keypoint"], num_resamples=5, pictures=tmp_path / "elsewhere")
    write_report(report, tmp_path / "report.html")
    browser.messages.clear()
    browser.open(tmp_path / "report.html", fragment="#images")
    assert browser.count(".picture circle") > 17
    assert browser.count(".picture line") > 0
    assert browser.count("#tab-errors, #tab-confusion") == 0
    assert browser.messages == []
