"""The report of a batch in a real browser.

The browser is the Chromium that `devtools/get-browser.sh` puts into `build/browser`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from cellserve.batch.report import (
    Counts,
    FailureGroup,
    Histogram,
    ImageRow,
    ReportData,
    Thumbnail,
    report_html,
    thumbnail,
)
from cellserve_formats import read_image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[2]
NAMES = ["cells_phase_contrast", "nuclei_fluorescence", "nuclei_histology"]
WIDE, NARROW = 1280, 400
# Containers give a root user no sandbox and little shared memory.
OPTIONS = ["--no-sandbox", "--no-zygote", "--disable-gpu", "--disable-dev-shm-usage"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    made = subprocess.run([ROOT / "devtools" / "get-browser.sh"], capture_output=True, text=True)
    if made.returncode and not os.environ.get("CI"):
        pytest.skip(made.stderr.strip())
    assert made.returncode == 0, made.stderr
    with sync_playwright() as playwright:
        executable = ROOT / "build" / "browser" / "bin" / "chromium"
        browser = playwright.chromium.launch(executable_path=executable, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """A report of the three example images, with a failure whose name is a script."""
    rows, thumbnails, counts, sizes = [], [], [], []
    for at, name in enumerate(NAMES):
        image = read_image(ROOT / "examples" / "images" / f"{name}.png")
        labels = imagecodecs.imread(ROOT / "tests" / "data" / f"{name}_masks.png")
        diameters = np.sqrt(np.bincount(labels.ravel())[1:] * 4 / np.pi)
        shown = {"name": f"{name}.png", "objects": len(diameters), "mean_flow_error": 0.1 * at}
        median = float(np.median(diameters))
        rows.append(
            ImageRow(**shown, median_diameter=median, worst_flow_error=0.3, seconds=1.0, warnings=("alpha_ignored",))
        )
        thumbnails.append(Thumbnail(**shown, data=thumbnail(image, labels)))
        counts.append(Histogram.of_counts(len(diameters)))
        sizes.append(Histogram.of_sizes(diameters))
    script = "<script>document.title = 'broken'</script>.tif"
    data = ReportData(
        title="examples/images",
        started=datetime(2026, 3, 12, 9, 14, tzinfo=UTC),
        ended=datetime(2026, 3, 12, 9, 15, tzinfo=UTC),
        work_s=60.0,
        counts=Counts(done=3, failed=1),
        megapixels=0.7,
        parameters=(("diameter", "30.0"),),
        warnings=(("alpha_ignored", 3),),
        objects_per_image=Histogram.total("counts", counts),
        diameters=Histogram.total("sizes", sizes),
        rows=tuple(rows),
        thumbnails=tuple(thumbnails),
        failures=(FailureGroup(reason="FILE_UNREADABLE", count=1, message=script, names=(script,)),),
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(report_html(data), encoding="utf-8")
    return path


class Opened:
    """A page, what it asked for, and what its console said."""

    def __init__(self, browser: Browser, path: Path, width: int, scheme: str) -> None:
        self.page: Page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.requests: list[str] = []
        self.said: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.goto(path.as_uri())


@pytest.fixture(params=[(WIDE, "light"), (NARROW, "dark")], ids=["wide-light", "narrow-dark"])
def opened(request, browser, report) -> Iterator[Opened]:
    opened = Opened(browser, report, *request.param)
    yield opened
    opened.page.close()


def test_the_browser_shows_every_part_and_asks_for_nothing(opened, report):
    page = opened.page
    assert page.title() == "3 images segmented, 1 failed: examples/images"
    assert page.locator("h1").inner_text() == "3 images segmented, 1 failed"
    assert page.locator("h2").all_inner_texts() == [
        *("Failures", "Warnings", "Counts and sizes", "Pictures", "Images", "How it was made"),
    ]
    sizes = page.evaluate("Array.from(document.images, image => [image.naturalWidth, image.naturalHeight])")
    assert sizes == [[256, 204], [256, 191], [256, 256]], "the worst flow error first"
    names = page.locator("#images ~ .scroll tbody th").all_inner_texts()
    assert names == [f"{name}.png" for name in NAMES[::-1]]
    assert page.locator("#failures ~ .failure li").inner_text() == "<script>document.title = 'broken'</script>.tif"
    assert page.locator("svg[role=img]").count() == 2
    assert [url for url in opened.requests if not url.startswith("data:")] == [report.as_uri()]
    assert opened.said == []


def test_nothing_is_wider_than_the_window(opened):
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]
    texts = page.evaluate(
        "Array.from(document.querySelectorAll('svg text, svg rect'), shape => shape.getBoundingClientRect())"
        ".map(box => [box.left, box.right, box.width])"
    )
    assert len(texts) > 30
    for left, right, width in texts:
        assert 0 <= left < right <= page.viewport_size["width"]
        assert width > 0


def test_text_is_legible_in_light_and_dark(opened):
    """Contrast of at least 4.5, the least of the guidelines for accessible pages."""
    pairs = opened.page.evaluate(
        """() => {
          const ground = node => {
            const colour = getComputedStyle(node).backgroundColor;
            return colour === 'rgba(0, 0, 0, 0)' && node.parentElement ? ground(node.parentElement) : colour;
          };
          const texts = [...document.querySelectorAll('main :not(title)')].filter(
            node => [...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim()));
          return texts.map(node => {
            const style = getComputedStyle(node);
            return [node instanceof SVGElement ? style.fill : style.color, ground(node), node.textContent.slice(0, 30)];
          });
        }"""
    )
    assert len(pairs) > 80
    for colour, ground, text in pairs:
        lighter, darker = sorted((_luminance(colour), _luminance(ground)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, f"{text}: {colour} on {ground}"


def test_links_lead_to_sections(opened):
    page = opened.page
    page.get_by_role("link", name="How it was made").click()
    assert page.locator("#origin").evaluate("node => node.getBoundingClientRect().top") < 900
    assert page.evaluate("location.hash") == "#origin"


def test_paper_has_the_whole_table(browser, report):
    page = browser.new_page()
    page.goto(report.as_uri())
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator("nav").is_hidden()
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.evaluate("getComputedStyle(document.querySelector('.scroll')).maxHeight") == "none"
    assert page.pdf(format="A4").startswith(b"%PDF-")
    page.close()


def _luminance(colour: str) -> float:
    values = [int(value) / 255 for value in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
