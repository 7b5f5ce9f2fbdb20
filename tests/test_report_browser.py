"""The report in a real browser: no request, no error, charts drawn, names that look like code stay text."""

import dataclasses
from pathlib import Path

import pytest
from report_toys import EVIL, make_report

from hitherto.report import html

CHROMIUM = Path("/usr/bin/chromium")
ARGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}")
    with api.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        yield chromium
        chromium.close()


def hostile(content):
    """The content with a script as title, flag, curve, asset and probe, and an image with a handler beside it."""
    image = "<img src=x onerror=alert(2)>"
    equity, audit = content.equity, content.audit
    first, *rest = equity.curves
    return dataclasses.replace(
        content,
        title=f"Study of {EVIL}",
        flags=(image, *content.flags),
        settings="</script><script>window.pwned = 1</script>",
        example=dataclasses.replace(content.example, asset=EVIL),
        audit=dataclasses.replace(audit, rows=(dataclasses.replace(audit.rows[0], probe=EVIL), *audit.rows[1:])),
        equity=dataclasses.replace(
            equity,
            curves={EVIL: equity.curves[first], image: equity.curves[rest[0]]},
            roles={EVIL: "strategy", image: "model"},
        ),
    )


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory):
    """The hostile report, opened once, with everything the browser complained about or asked for."""
    path = html.write(hostile(make_report()), tmp_path_factory.mktemp("report") / "report.html")
    page = browser.new_page(viewport={"width": 1180, "height": 900})
    seen = {"console": [], "errors": [], "requests": [], "dialogs": []}
    page.on("console", lambda m: seen["console"].append(f"{m.type}: {m.text}"))
    page.on("pageerror", lambda e: seen["errors"].append(str(e)))
    page.on("request", lambda r: seen["requests"].append(r.url))
    page.on("dialog", lambda d: (seen["dialogs"].append(d.message), d.dismiss()))
    page.goto(path.as_uri())
    page.wait_for_selector("#chart-orders .js-plotly-plot svg.main-svg")
    page.click("#unfold")
    page.wait_for_timeout(200)
    yield page, seen, path
    page.close()


def test_no_error_and_no_request_but_the_file(opened):
    _, seen, path = opened
    assert seen["console"] == []
    assert seen["errors"] == []
    assert seen["requests"] == [path.as_uri()]


def test_the_policy_is_in_force(opened):
    """A script written into the page afterwards must not run: shows that the hashes are read, not ignored."""
    page, seen, _ = opened
    before = len(seen["console"])
    page.evaluate(
        """() => {
          const late = document.createElement('script');
          late.textContent = 'window.late = 1';
          document.body.append(late);
        }"""
    )
    assert page.evaluate("window.late") is None
    assert len(seen["console"]) == before + 1
    del seen["console"][before:]


def test_every_chart_is_drawn_with_marks(opened):
    page, _, _ = opened
    drawn = page.eval_on_selector_all(
        ".chart", "es => es.map(e => [e.dataset.chart, e.querySelectorAll('svg.main-svg').length, "
        "e.querySelectorAll('.trace, .hm image, .bars .point').length])"
    )  # fmt: skip
    assert [name for name, *_ in drawn] == [
        "equity", "drawdown", "hindsight", "attribution", "attribution_years", "attribution_path", "ic", "decay",
        "quantiles", "autocorrelation", "ladder", "example", "gates", "weights", "exposure", "costs", "cost_years",
        "heatmap", "periods", "rolling", "regimes", "breakeven", "stress", "delay", "capacity", "orders",
    ]  # fmt: skip
    assert all(pictures > 0 and marks > 0 for _, pictures, marks in drawn), drawn


def test_a_script_as_a_name_is_text(opened):
    page, seen, _ = opened
    assert seen["dialogs"] == []
    assert page.evaluate("window.pwned") is None
    assert page.locator("h1").inner_text() == f"Study of {EVIL}"
    assert page.locator("img").count() == 0
    ticks = page.eval_on_selector_all("#chart-weights .ytick text", "es => es.map(e => e.textContent)")
    assert "<script>alert(1…" in ticks
    assert EVIL in page.locator("#chart-example h3").inner_text()
    assert "window.pwned = 1" in page.locator("#settings pre").inner_text()


def test_hovering_over_a_hostile_curve_shows_text(opened):
    page, seen, _ = opened
    page.evaluate(
        "Plotly.Fx.hover(document.querySelector('[data-chart=equity]'), [{curveNumber: 3, pointNumber: 300}])"
    )
    shown = page.locator("#chart-equity .hoverlayer").text_content()
    assert "<script>" in shown
    assert seen["dialogs"] == []


def test_chinese_is_drawn_by_a_font_that_has_it(opened):
    """A missing glyph is drawn as the same box for every character; two different characters must differ in pixels."""
    page, _, _ = opened
    assert "扣除成本后" in page.locator(".second").inner_text()
    differ = page.evaluate(
        """() => {
          const draw = (c) => {
            const k = document.createElement('canvas'); k.width = k.height = 40;
            const g = k.getContext('2d'); g.font = '32px ' + getComputedStyle(document.body).fontFamily;
            g.fillText(c, 2, 32); return k.toDataURL();
          };
          return draw('扣') !== draw('成') && draw('扣') !== draw('\\uE123');
        }"""
    )
    assert differ


def test_a_key_entry_hides_and_shows_its_line(opened):
    page, _, _ = opened
    line = "document.querySelector('[data-chart=costs]').data[0].visible"
    entry = page.locator("#chart-costs .key button").first
    entry.click()
    assert page.evaluate(line) is False
    entry.click()
    assert page.evaluate(line) is True


def test_nothing_is_wider_than_a_phone_or_the_column(browser, opened):
    _, _, path = opened
    for width in (390, 1400):
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.goto(path.as_uri())
        page.wait_for_selector("#chart-orders .js-plotly-plot")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate("document.querySelector('main').getBoundingClientRect().width") <= 1100
        page.close()


def test_print_shows_every_fold_and_chart_and_folds_them_again(browser, opened):
    _, _, path = opened
    page = browser.new_page(viewport={"width": 1180, "height": 900})
    page.goto(path.as_uri())
    page.wait_for_selector("#chart-orders .js-plotly-plot")
    closed = "[...document.querySelectorAll('details')].filter(d => !d.open).length"
    before = page.evaluate(closed)
    assert before > 5
    page.emulate_media(media="print")
    page.wait_for_timeout(500)
    assert page.evaluate(closed) == 0
    assert page.locator("#audit table").is_visible()
    assert page.locator("#settings pre").is_visible()
    assert not page.locator("nav").is_visible()
    assert page.eval_on_selector_all(".chart", "es => es.every(e => e.querySelector('svg').clientWidth === 640)")
    page.emulate_media(media="screen")
    page.wait_for_timeout(500)
    assert page.evaluate(closed) == before
    page.close()


def test_print_shows_every_fold_without_javascript(browser, opened):
    _, _, path = opened
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    assert not page.locator("#settings pre").is_visible()
    page.emulate_media(media="print")
    assert page.locator("#settings pre").is_visible()
    context.close()
