"""The page in Chromium: no overflow, no message, no request; screenshots are kept.

Screenshots go to the folder that CINEFEAT_ARTEFACTS names, else to the test's own.
"""

from pathlib import Path

import pytest
from chromium import Chromium
from report_folders import make_run

from cinefeat.pipeline import cli

WIDTHS = (400, 1280)

pytestmark = pytest.mark.xdist_group("browser")


def _report(*arguments: object) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["report", *map(str, arguments)])
    assert ended.value.code == 0


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page with every part, one with a class name that nothing can break, and one of a picture."""
    folder = tmp_path_factory.mktemp("pages")
    failures = (("9/eve", "flow", "cut off " + "very" * 60),)
    first = make_run(folder / "a", "everything", 1, failures=failures, curves=True)
    second = make_run(folder / "a", "other", 2, strength=2.0)
    _report(first, second)
    classes = ("a", "b" * 40, "c d " * 15)
    long = make_run(folder / "b", "name" * 30, 3, classes=classes)
    _report(long)
    many = make_run(folder / "c", "many", 0, classes=tuple(f"class{i:02}" for i in range(40)))
    _report(many)
    return {"every": first, "long": long, "many": many}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["every", "long", "many"])
def test_nothing_overflows_and_nothing_is_said_or_asked_for(
    browser: Chromium, pages: dict[str, Path], artefacts: Path, name: str, width: int
) -> None:
    page = pages[name] / "report.html"
    for scheme in ("light", "dark"):
        browser.open(page, width, scheme=scheme)
        browser.screenshot(artefacts / f"report-{name}-{width}-{scheme}.png")
        browser.assert_quiet(page, width)


def test_the_check_of_requests_and_messages_can_fail(browser: Chromium, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text("<!doctype html><img src='gone.png'><script>console.log(1)</script>")
    browser.open(page, 400)
    methods = [event["method"] for event in browser.events]
    assert "Runtime.consoleAPICalled" in methods
    assert methods.count("Network.requestWillBeSent") == 2


def test_the_keyboard_reaches_the_skip_link_first_and_every_part_that_scrolls(
    browser: Chromium, pages: dict[str, Path]
) -> None:
    browser.open(pages["every"] / "report.html", 400)
    seen = []
    for _ in range(60):
        for kind in ("rawKeyDown", "keyUp"):
            browser.call("Input.dispatchKeyEvent", type=kind, key="Tab", windowsVirtualKeyCode=9)
        seen.append(browser.evaluate(
            "document.activeElement.getAttribute('aria-label')"
            " || document.activeElement.getAttribute('href')"
        ))  # fmt: skip
    assert seen[0] == "#content"
    needed = browser.evaluate(
        "[...document.querySelectorAll('.scroll, pre')].map(e => e.getAttribute('aria-label'))"
    )
    assert needed
    assert set(needed) <= set(seen)


def test_the_whole_text_is_there_for_a_screen_reader(
    browser: Chromium, pages: dict[str, Path]
) -> None:
    browser.open(pages["every"] / "report.html", 400)
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    named: dict[str, list[str]] = {}
    for node in nodes:
        if not node.get("ignored"):
            role = node["role"]["value"]
            named.setdefault(role, []).append(node.get("name", {}).get("value", ""))
    for role in ("heading", "image", "img", "link", "columnheader", "rowheader"):
        assert all(named.get(role, [])), f"a {role} has no name"
    assert {"main", "banner", "navigation"} <= named.keys()
    assert "Confusions" in named["heading"]


def test_print_shows_what_the_screen_scrolls(
    browser: Chromium, pages: dict[str, Path], artefacts: Path
) -> None:
    page = pages["every"] / "report.html"
    browser.open(page, 794, media="print")
    assert browser.evaluate(
        "[...document.querySelectorAll('.scroll')].every(e => getComputedStyle(e).overflowX"
        " === 'visible')"
    )
    inner, outer = browser.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert inner <= outer
    browser.pdf(artefacts / "report-every.pdf")
    assert (artefacts / "report-every.pdf").read_bytes().startswith(b"%PDF")
