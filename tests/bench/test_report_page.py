"""The HTML report, in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from tests.bench import runs
from tests.bench.browser import Browser, browser  # noqa: F401
from vecstore import schemes
from vecstore.schemes.base import Family
from vecstore.schemes.full import Full
from vecstore_bench.describing import DESCRIPTION
from vecstore_bench.report.choosing import Rules
from vecstore_bench.report.command import report

#: Attributes by which a page loads something.
_LOADING = ("src", "srcset", "href", "xlink:href", "action", "data", "poster")
#: JavaScript: what a page fetched beside itself, in vain too.
FETCHED = 'performance.getEntriesByType("resource").map((entry) => entry.name)'


class Plugged(Full, frozen=True, kw_only=True, tag="plugged"):
    """Rows of a scheme that :class:`nobody.here` knows, with ``<b>code</b>``.

    Attributes
    ----------
    version : int
        Version of this config.
    """

    name = "plugged"
    family = Family.PRUNING
    paper = "Nobody, A Scheme of Another Distribution, 2026"


class _Reader(HTMLParser):
    """Collects what a page refers to, its ids, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.unlabelled: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        self.loads += [value for name, value in attrs if name in _LOADING]
        if tag == "svg" and not found.get("aria-label"):
            self.unlabelled.append(self.get_starttag_text())

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Iterator[Path]:
    """A report of two data sets, with a scheme of a plug-in and one that is not installed."""
    cells = runs.made_up() + runs.made_up(data="movies", shift=0.03) + runs.auto_cells()
    for seed in range(3):
        cells.append(runs.cell("clicks", "plugged", 0.1, seed, 6_000_000, 0.7795 + seed / 1e4, 95e6, 48.0))
        cells.append(runs.cell("clicks", "from-elsewhere", 0.1, seed, 6_100_000, 0.7, 95e6, 300.0))
    folder = runs.write(tmp_path_factory.mktemp("report") / "run", cells)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(schemes._registry._schemes, "plugged", Plugged)
        _, file = report([folder], folder, Rules())
        yield file


def distinct_colours(png: Path) -> int:
    pixels = (imread(png)[..., :3] * 255).astype(np.uint8)
    return len(np.unique(pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)))


def test_the_browser_notices_errors_and_blank_pages(browser, tmp_path):  # noqa: F811
    page = tmp_path / "page.html"
    page.write_text("<html><body><script>nothing.there()</script></body></html>")
    seen = browser.screenshot(page, tmp_path / "page.png", width=400, height=300)
    assert any("nothing is not defined" in line for line in seen.console)
    assert distinct_colours(tmp_path / "page.png") == 1
    page.write_text('<html><body><img src="http://example.org/a.png"></body></html>')
    assert told(browser, page, tmp_path / "copy.html", FETCHED) == ["http://example.org/a.png"]


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (390, False), (1400, True)])
def test_it_is_drawn_without_a_word_in_the_console(browser, page, tmp_path, width, dark):  # noqa: F811
    png = tmp_path / "page.png"
    seen = browser.screenshot(page, png, width=width, height=2400, dark=dark)
    assert seen.console == []
    assert imread(png).shape[:2] == (2400, width)
    assert distinct_colours(png) > 200
    # The corner shows the theme.
    assert (imread(png)[0, 0, :3].mean() < 0.2) == dark


def with_script(page, to, script):
    """Write a copy of a page that does more when it has been loaded."""
    more = f"<script>addEventListener('load', () => {{ {script} }});</script></body>"
    to.write_text(page.read_text(encoding="utf-8").replace("</body>", more), encoding="utf-8")
    return to


def told(browser, page, to, expression):  # noqa: F811
    """Give the value of a JavaScript expression in a page."""
    script = f"""
    const told = document.createElement("pre");
    told.id = "told";
    told.textContent = JSON.stringify({expression});
    document.body.append(told);"""
    seen = browser.document(with_script(page, to, script))
    assert seen.console == []
    (value,) = re.findall(r'<pre id="told">(.*?)</pre>', seen.output)
    return json.loads(unescape(value))


def overflow(browser, page, to, png):  # noqa: F811
    """Give what a page of a phone's width says of its own width."""
    # The window has its size only when the picture is taken.
    script = """addEventListener("resize", () => {
      console.log(`${innerWidth} and ${document.documentElement.scrollWidth}`);
    });"""
    return browser.screenshot(with_script(page, to, script), png, width=390, height=900).console[-1]


def test_models_and_data_are_drawn_too(browser, tmp_path):  # noqa: F811
    cells = runs.made_up(seeds=1)
    folder = runs.write(tmp_path / "run", [*cells, *({**one, "model": "wdl"} for one in cells)])
    field = {"field": "user", "ids": 5000, "zipf": 1.05, "cover": 0.1, "rare": 0.4, "unseen": 0.02}
    (folder / DESCRIPTION).write_text(json.dumps({"fields": [field], "says": ["5,000 ids, and `adapt` fits them."]}))
    _, file = report([folder], folder, Rules())
    sections = """[...document.querySelectorAll("h2")].map((heading) => heading.id)
      .filter((id) => /^(data|models)-/.test(id))"""
    assert told(browser, file, tmp_path / "copy.html", sections) == ["data-1", "models-1"]
    assert '"390 and 390"' in overflow(browser, file, tmp_path / "copy.html", tmp_path / "page.png")
    assert "<code>adapt</code> fits them" in file.read_text(encoding="utf-8")


def test_it_fetches_nothing(browser, page, tmp_path):  # noqa: F811
    assert told(browser, page, tmp_path / "page.html", FETCHED) == []


def test_a_phone_need_not_scroll_aside(browser, page, tmp_path):  # noqa: F811
    assert '"390 and 390"' in overflow(browser, page, tmp_path / "page.html", tmp_path / "page.png")


def test_a_click_on_a_heading_sorts(browser, page, tmp_path):  # noqa: F811
    sort = """(() => {
      const table = document.querySelector("#table-1").parentElement.querySelector("table");
      const headings = [...table.tHead.rows[0].cells];
      const click = (title) => {
        const column = headings.findIndex((cell) => cell.textContent.startsWith(title));
        headings[column].querySelector("button").click();
        return [...table.tBodies[0].rows].map((row) => row.cells[column].dataset.value);
      };
      const found = [click("Bytes"), click("Bytes"), click("Scheme"), click("Log loss")];
      return [...found, headings.map((cell) => cell.getAttribute("aria-sort")).filter(Boolean)];
    })()"""
    rising, falling, names, losses, marked = told(browser, page, tmp_path / "page.html", sort)
    sizes = sorted(int(value) for value in rising)
    assert len(set(sizes)) > 3
    assert [int(value) for value in rising] == sizes
    assert [int(value) for value in falling] == sizes[::-1]
    assert names == sorted(names)
    assert [float(value) for value in losses] == sorted(map(float, losses))
    assert marked == ["ascending"]


def test_it_loads_nothing_and_its_parts_fit_together(page):
    text = page.read_text(encoding="utf-8")
    read = _Reader(text)
    assert len(read.ids) == len(set(read.ids))
    assert {link.removeprefix("#") for link in read.loads if link.startswith("#")} <= set(read.ids)
    assert [link for link in read.loads if not link.startswith(("#", "data:,"))] == []
    assert "@import" not in text
    assert [link for link in re.findall(r"url\(['\"]?(.*?)['\"]?\)", text) if not link.startswith("#")] == []
    assert text.count("<svg ") == 8
    assert read.unlabelled == []


def test_schemes_of_others_have_cards_and_are_in_the_plots(page):
    text = page.read_text(encoding="utf-8")
    (card,) = re.findall(r'<article class="card" id="method-plugged">(.*?)</article>', text, re.DOTALL)
    assert "Rows of a scheme that <code>here</code> knows, with <code>&lt;b&gt;code&lt;/b&gt;</code>." in card
    assert "of-pruning" in card
    assert "A Scheme of Another Distribution" in card
    assert "Advised: smallest at &lt; 0.5 % loss." in card
    assert 'data-scheme="plugged" data-tip="plugged at 10 %: AUC 0.7796' in text
    (card,) = re.findall(r'<article class="card" id="method-from-elsewhere">(.*?)</article>', text, re.DOTALL)
    assert "not installed here" in card
    families = text[text.index('id="families"') : text.index('id="methods"')]
    assert re.search(r"pruning.*plugged", families, re.DOTALL)
    for name in schemes.names():
        assert f'id="method-{name}"' in text


def test_what_did_not_run_is_listed(page):
    text = page.read_text(encoding="utf-8")
    assert "RuntimeError: &lt;b&gt;loss&lt;/b&gt; is not finite" in text
    assert "<b>loss" not in text
    assert text.count("needs at least 16 MB, 25 % of float32") == 8
    assert "Floor: needs at least" not in text.split('id="method-hash"')[1].split("</article>")[0]
    assert "clicks, dcn, 16 dimensions: Floor: needs at least 16 MB here." in text


def test_every_plot_lies_beside_it_in_both_forms(page):
    names = {file.name for file in (page.parent / "plots").iterdir()}
    stems = {f"{number}-{data}-dcn-16-dimensions-{what}" for number, data in ((1, "clicks"), (2, "movies"))
             for what in ("quality", "train-memory", "lookup-ns", "train-seconds")}  # fmt: skip
    assert names == {f"{stem}.{kind}" for stem in stems for kind in ("svg", "png")}
    for stem in stems:
        assert distinct_colours(page.parent / "plots" / f"{stem}.png") > 50
        assert (page.parent / "plots" / f"{stem}.svg").read_text(encoding="utf-8").startswith("<?xml")


def test_the_same_run_gives_the_same_bytes(page, tmp_path):
    _, again = report([page.parent], tmp_path, Rules())
    assert again.read_bytes() == page.read_bytes()
    for file in (page.parent / "plots").iterdir():
        assert (tmp_path / "plots" / file.name).read_bytes() == file.read_bytes()
