"""Colours: readable on every level of every ramp, and the page's own in both schemes."""

import re
from importlib import resources

import pytest

from cinefeat.pipeline.reporting.heat import LEVELS, contrast, heat_css, level_of, svg

CSS = (resources.files("cinefeat.pipeline.reporting") / "templates/page.css").read_text()
SCHEMES = [dict(re.findall(r"--(\w+):(#\w+)", block)) for block in re.findall(r":root{(.*?)}", CSS)]


def _long(colour: str) -> str:
    return colour if len(colour) == 7 else "#" + "".join(2 * c for c in colour[1:])


def test_text_is_readable_on_every_level() -> None:
    rules = re.findall(r"\.(right|wrong)-\d+{background:(#\w+);color:(#\w+)}", heat_css())
    assert len(rules) == 2 * 2 * LEVELS
    assert min(contrast(ground, text) for _, ground, text in rules) >= 4.5


@pytest.mark.parametrize("scheme", SCHEMES, ids=["light", "dark"])
@pytest.mark.parametrize("name", ["text", "soft", "accent", "right", "wrong"])
@pytest.mark.parametrize("ground", ["page", "card"])
def test_the_colours_of_text_are_readable(scheme: dict[str, str], name: str, ground: str) -> None:
    assert contrast(_long(scheme[name]), _long(scheme[ground])) >= 4.5


@pytest.mark.parametrize("total", [1, 7, 9, 1000])
def test_levels_rise_with_counts_and_only_zero_is_empty(total: int) -> None:
    levels = [level_of(count, total) for count in range(total + 1)]
    assert levels == sorted(levels)
    assert levels[0] == 0
    assert levels[1] >= 1
    assert levels[-1] == LEVELS


def test_drawings_take_the_colour_of_the_text_and_are_named() -> None:
    from matplotlib.figure import Figure

    drawing = Figure()
    drawing.add_subplot().plot([0, 1])
    text = svg(drawing, 'a "b" <c>')
    assert text.startswith('<svg role="img" aria-label="a &quot;b&quot; &lt;c>"')
    assert "currentColor" in text
    assert "<text" in text
    assert "#000000" not in text
