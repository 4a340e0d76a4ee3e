"""The page of a report: what it says, in which order, and that no name of a file breaks it."""

from __future__ import annotations

import base64
import dataclasses
import re
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from itertools import pairwise

import html5lib
import numpy as np
import pytest
from cellserve.batch.report import (
    Counts,
    FailureGroup,
    Histogram,
    ImageRow,
    ModelUsed,
    ReportData,
    Thumbnail,
    report_html,
    thumbnail,
)
from cellserve.batch.report.charts import histogram_svg
from cellserve.batch.report.markup import visible
from cellserve.batch.report.remedies import remedy_of
from cellserve.batch.report.words import duration, figure, period, pixels, rough, short
from cellserve_contract.reasons import ErrorReason
from cellserve_contract.warnings import WarningKind
from cellserve_formats import Image
from hypothesis import given
from hypothesis import strategies as st

START = datetime(2026, 3, 12, 9, 14, tzinfo=timezone(timedelta(hours=1)))
HOSTILE = "<script>alert('\"&1')</script>\n\x00\x1b[31m\udcff\u202egpj.exe"
PICTURE = thumbnail(Image(np.eye(64, dtype=np.uint8), "YX"), np.eye(64, dtype=np.uint8))


def row(name="a.tif", error: float | None = 0.1, **fields):
    known = {"objects": 12, "median_diameter": 20.0, "worst_flow_error": error, "seconds": 1.5}
    return ImageRow(name=name, mean_flow_error=error, **{**known, **fields})


def picture(name="a.tif", error: float | None = 0.1, data=PICTURE):
    return Thumbnail(name=name, data=data, objects=12, mean_flow_error=error)


def report(**fields):
    known = {
        "title": "plate_07",
        "started": START,
        "ended": START + timedelta(hours=1, minutes=48),
        "work_s": 6000.0,
        "counts": Counts(done=1198, failed=6),
        "megapixels": 314.0,
    }
    return ReportData(**{**known, **fields})


def full(name="well_A01.tif", message="the file is cut off"):
    """A report with everything in it."""
    return report(
        title=name,
        counts=Counts(done=2, failed=3, skipped=4, left=5),
        parameters=(("diameter", "30.0"), (name, name)),
        models=(ModelUsed(family=name, name="cyto", version="3", sha256="ab" * 32, precision="fp16", runtime="onnx"),),
        client_version="0.1.0",
        server_versions=("0.1.0", "0.2.0"),
        warnings=(("nothing_found", 1), ("sent_by_a_newer_server", 7), (name, 1)),
        objects_per_image=Histogram.of_counts([0, 12]),
        diameters=Histogram.of_sizes([20.0] * 12),
        diameters_um=Histogram.of_sizes([6.5] * 12),
        rows=(row(name, 0.25, median_diameter_um=6.5, warnings=("nothing_found", name)), row("b.tif", None)),
        thumbnails=(picture(name),),
        failures=(FailureGroup(reason="IMAGE_UNDECODABLE", count=3, message=message, names=(name,)),),
        rest=name,
        again="Run `cellserve batch` again.",
    )


class Page(HTMLParser):
    """Texts, elements and attributes of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.quiet = 0
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.quiet += tag in ("style", "title")
        self.text += (
            " " if tag in ("td", "th", "p", "div", "li", "h1", "h2", "h3", "figcaption", "dt", "dd", "a") else ""
        )

    def handle_endtag(self, tag):
        self.quiet -= tag in ("style", "title")

    def handle_data(self, data):
        if not self.quiet:
            self.text += data

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def test_the_title_has_the_counts():
    html = report_html(report(counts=Counts(done=1198, failed=6, left=12)))
    assert re.findall(r"<(?:h1|title)>(.*?)</", html) == [
        "1,198 images segmented, 6 failed, 12 left: plate_07",
        "1,198 images segmented, 6 failed, 12 left",
    ]
    assert "<h1>1 image segmented</h1>" in report_html(report(counts=Counts(done=1)))


def test_sections_stand_in_the_order_of_their_importance():
    html = report_html(full())
    assert re.findall(r'<h2 id="(\w+)"', html) == ["failures", "warnings", "sizes", "pictures", "images", "origin"]
    assert re.findall(r'href="#(\w+)"', html) == ["failures", "warnings", "sizes", "pictures", "images", "origin"]


def test_an_empty_run_has_counts_and_nothing_else():
    page = Page(report_html(report(counts=Counts(done=0), work_s=0.0, megapixels=0.0)))
    assert "0 images segmented" in page.text
    assert "images per minute" not in page.text
    assert not page.of("h2")
    assert not page.of("nav")


def test_key_figures():
    text = Page(
        report_html(
            report(
                objects_per_image=Histogram.of_counts([0, 0, 5]),
                diameters=Histogram.of_sizes([20.0] * 5),
                diameters_um=Histogram.of_sizes([6.5] * 5),
            )
        )
    ).text
    for expected in (
        "Objects 52 images without objects",
        "Median diameter 20 px6.4 µm",
        "314 megapixels",
        "1 h 40 min12.0 images per minute",  # 1,198 in 6,000 s
        "2026-03-12, 09:14 to 11:02 (UTC+01:00)",
    ):
        assert expected in text


def test_failures_say_what_to_do_and_name_twenty_files():
    names = tuple(f"well_{at}.tif" for at in range(30))
    failures = (
        FailureGroup(reason="FILE_UNREADABLE", count=2, message="permission denied", names=("x.tif", "y.tif")),
        FailureGroup(reason="IMAGE_UNDECODABLE", count=900, message="the file is cut off", names=names),
    )
    html = report_html(report(failures=failures, again="Run the same command again."))
    page = Page(html)
    assert page.text.index("900 images: IMAGE_UNDECODABLE") < page.text.index("2 images: FILE_UNREADABLE")
    assert "the file is cut off What to do: Open these files in the program that wrote them" in page.text
    assert "What to do: Check path and permissions." in page.text
    assert "well_19.tif" in page.text
    assert "well_20.tif" not in page.text
    assert "and 880 more" in page.text
    assert page.text.count("Run the same command again.") == 1


def test_a_run_that_ended_early_says_how_to_go_on():
    text = Page(report_html(report(counts=Counts(done=1, left=1), again="Run `it` again."))).text
    assert "The run ended early: 1 image is left. Run it again." in text
    assert "5 images are left. Run cellserve batch again." in Page(report_html(full())).text


def test_images_of_an_earlier_run_are_counted():
    text = Page(report_html(report(counts=Counts(done=1, skipped=300)))).text
    assert "300 images had been done in an earlier run." in text


@pytest.mark.parametrize("reason", list(ErrorReason), ids=lambda reason: reason.name)
def test_every_reason_has_a_remedy_in_the_words_of_the_command_line(reason):
    remedy = remedy_of(reason.name)
    assert remedy.endswith(".")
    for word in ("RetryInfo", "stack_mode", "series`.", "GetLimits", "authorization:", "SegmentLarge, ask"):
        assert word not in remedy.replace("--series`", "")


def test_reasons_of_newer_servers_get_general_advice():
    assert "Read the message" in remedy_of("SENT_BY_A_NEWER_SERVER")


def test_warnings_say_what_happened_and_how_often():
    text = Page(report_html(report(warnings=(("values_clipped", 3), ("nothing_found", 1200))))).text
    nothing, clipped = WarningKind.NOTHING_FOUND, WarningKind.VALUES_CLIPPED
    assert f"nothing found {nothing.meaning} {nothing.suggestion} 1,200" in text
    assert f"values clipped {clipped.meaning} {clipped.suggestion} 3" in text
    assert text.index("nothing found") < text.index("values clipped")
    assert (
        "newer thing A newer server gave this warning. Update the client. 1"
        in Page(report_html(report(warnings=(("newer_thing", 1),)))).text
    )


def test_the_table_begins_with_the_worst_flow_errors():
    rows = (row("good.tif", 0.05), row("none.tif", None, objects=0, median_diameter=None), row("bad.tif", 0.3))
    html = report_html(report(rows=rows, counts=Counts(done=3)))
    assert re.findall(r'scope="row"><span class="name">(.*?)</span>', html) == ["bad.tif", "good.tif", "none.tif"]
    assert "none.tif 0 – – – 1.5" in Page(html).text
    assert "bad.tif 12 20.0 0.300 0.300 1.5" in Page(html).text
    assert "Images with the largest mean flow errors come first." in html
    assert "Median diameter, µm" not in html


def test_the_table_has_a_thousand_rows_and_says_where_the_rest_is():
    rows = tuple(row(f"{at:05}.tif", at / 10_000) for at in range(1500))
    html = report_html(report(rows=rows, rest="images.csv", objects_per_image=Histogram.of_counts([12] * 3000)))
    assert html.count('scope="row"') - 1 == 1000, "and one row of numbers of the histogram"
    assert "The 1,000 of 3,000 images with the largest mean flow errors. images.csv has all images." in html
    assert "01499.tif" in html
    assert "00499.tif" not in html


def test_sixty_thumbnails_of_the_worst_images():
    pictures = tuple(picture(f"{at:05}.tif", at / 100) for at in range(70))
    page = Page(report_html(report(thumbnails=pictures)))
    alts = [attributes["alt"] for attributes in page.of("img")]
    assert len(alts) == 60
    assert alts[0] == "00069.tif with the outlines of 12 objects"
    assert "00069.tif12 objects, flow error 0.690" in page.text
    kind, _, data = page.of("img")[0]["src"].partition(";base64,")
    assert (kind, base64.b64decode(data)) == ("data:image/jpeg", PICTURE)


def test_a_thumbnail_that_is_no_picture_is_refused():
    with pytest.raises(ValueError, match=r"a\.tif is neither PNG nor JPEG"):
        report_html(report(thumbnails=(picture(data=b"II*\0"),)))


def test_parameters_models_and_versions_stand_at_the_end():
    text = Page(report_html(full())).text
    end = text[text.index("How it was made", text.index("Images")) :]
    for expected in ("diameter 30.0", f"cyto 3 fp16 onnx {'ab' * 32}", "Client 0.1.0  Server 0.1.0  Server 0.2.0"):
        assert expected in end


@pytest.mark.parametrize("name", ["well_A01.tif", HOSTILE, "a" * 300, "Größe µm 細胞.tif", "`x`"])
def test_the_page_is_valid_whatever_the_names_are(name):
    html = report_html(full(name, message=name))
    html.encode("utf-8")
    html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(html)
    page = Page(html)
    assert not page.of("script")
    assert page.text.count(visible(name)) >= 6
    assert not [tag for tag, attributes in page.elements if any(key.startswith("on") for key in attributes)]


def test_hostile_names_are_written_out():
    assert visible(HOSTILE) == "<script>alert('\"&1')</script>\\n\\x00\\x1b[31m\\xff\\u202egpj.exe"
    assert visible("Größe µm 細胞 👩‍🔬") == "Größe µm 細胞 👩‍🔬"


@given(st.text(st.characters(exclude_categories=()), max_size=20))
def test_any_text_can_be_a_name(name):
    html = report_html(report(rows=(row(name),)))
    html.encode("utf-8")
    html5lib.HTMLParser(strict=True).parse(html)
    assert visible(name) in Page(html).text


def test_the_page_needs_nothing_else():
    page = Page(report_html(full()))
    for _, attributes in page.elements:
        for key in ("src", "href"):
            assert (attributes.get(key) or "#").startswith(("data:", "#"))
    (policy,) = (entry["content"] for entry in page.of("meta") if entry.get("http-equiv"))
    assert policy.startswith("default-src 'none';")
    assert "url(" not in report_html(full())
    assert "@import" not in report_html(full())


def test_the_page_speaks_to_screen_readers():
    page = Page(report_html(full()))
    assert page.of("html") == [{"lang": "en"}]
    assert all(attributes["alt"] for attributes in page.of("img"))
    assert all(attributes["scope"] in ("col", "row") for attributes in page.of("th"))
    assert len(page.of("caption")) == len(page.of("table"))
    charts = page.of("svg")
    assert [chart["aria-label"] for chart in charts] == [
        "Histogram: objects per image. 2 images, median 0, from 0 to 12.",
        "Histogram: diameters of objects. 12 objects, median about 20 px, from about 20 to 20 px.",
        "Histogram: diameters of objects. 12 objects, median about 6.4 µm, from about 6.4 to 6.4 µm.",
    ]
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_equal_data_give_equal_pages():
    assert report_html(full()) == report_html(full())
    shuffled = dataclasses.replace(full(), rows=full().rows[::-1], warnings=full().warnings[::-1])
    assert report_html(shuffled) == report_html(full())


def test_a_full_report_of_a_million_images_stays_small():
    draw = np.random.default_rng(0)
    rows = tuple(row(f"plate_{at % 24:02}/well_{at:04}_t{at % 7}.tif", at / 1000) for at in range(1000))
    html = report_html(
        report(
            counts=Counts(done=1_000_000),
            rows=rows,
            objects_per_image=Histogram.of_counts(draw.negative_binomial(4, 0.02, 20_000)),
            diameters=Histogram.of_sizes(draw.lognormal(3, 0.3, 100_000)),
        )
    )
    assert len(html) < 400_000
    assert "1,000,000 images segmented" in html


def test_bars_are_as_high_as_their_counts():
    chart = histogram_svg(Histogram.of_counts([3] * 4 + [5] * 2), "images", "", "")
    heights = dict(re.findall(r'height="([\d.]+)" class="bar"><title>(\d+: \d images)', chart))
    (four, two) = (float(height) for height in heights)
    assert list(heights.values()) == ["3: 4 images", "5: 2 images"]
    assert four == pytest.approx(2 * two, abs=0.2)


def test_words():
    assert [duration(seconds) for seconds in (0, 9.94, 42, 59.6, 200, 3599.7, 6480, 1e6)] == [
        *("0.0 s", "9.9 s", "42 s", "1 min 0 s", "3 min 20 s", "1 h 0 min", "1 h 48 min", "277 h 47 min"),
    ]
    assert [figure(number) for number in (0, 0.0123, 9.996, 42.34, 1234.5)] == ["0", "0.0123", "10.0", "42.3", "1,234"]
    assert [rough(number) for number in (0.123, 1.96, 9.11, 9.96, 19.9, 137, 3025)] == [
        *("0.12", "2.0", "9.1", "10", "20", "140", "3,000"),
    ]
    assert [short(number) for number in (0, 5000, 20_000, 1_500_000)] == ["0", "5,000", "20k", "1.5M"]
    assert [pixels(number) for number in (0.26, 1430, 4.2e6)] == [
        *("0.26 megapixels", "1.43 gigapixels", "4.2 terapixels"),
    ]
    assert period(START, START + timedelta(days=1)) == "2026-03-12, 09:14 to 2026-03-13, 09:14 (UTC+01:00)"
    assert period(START, datetime(2026, 3, 12, 9, 0, tzinfo=UTC)) == "2026-03-12, 09:14 to 10:00 (UTC+01:00)"
