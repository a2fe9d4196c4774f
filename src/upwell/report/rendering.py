"""Figures to bytes: SVG for the page, PNG and CSV beside it. Drawn offline by vl-convert."""

from __future__ import annotations

import csv
import io
import re
import textwrap
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any
from xml.etree import ElementTree

from upwell.errors import MissingExtra
from upwell.report.drawing import NARROW, WIDE, Figure
from upwell.report.palette import light, variables_by_light_value
from upwell.report.text import visible

_SVG = "http://www.w3.org/2000/svg"
_ELEMENTS = {"svg", "g", "path", "rect", "line", "text", "tspan"}
_ATTRIBUTES = frozenset(
    {
        *(
            "class",
            "width",
            "height",
            "viewBox",
            "x",
            "y",
            "x1",
            "x2",
            "y1",
            "y2",
            "dx",
            "dy",
            "d",
            "transform",
        ),
        *("text-anchor", "font-size", "font-weight", "font-style", "opacity", "display", "pointer-events"),
        *("fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray"),
        *("stroke-dashoffset", "stroke-miterlimit", "stroke-linecap", "stroke-linejoin"),
        *("aria-label", "aria-hidden"),
    }
)
_LONG_DECIMAL = re.compile(r"\d+\.\d{3,}")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def require_charts() -> None:
    """Raise `MissingExtra` unless figures can be drawn here."""
    for package, module in (("altair", "altair"), ("vl-convert-python", "vl_convert")):
        if find_spec(module) is None:
            raise MissingExtra("report", package, "report")


@dataclass(frozen=True)
class Rendered:
    """A figure with its drawings."""

    figure: Figure
    svgs: tuple[str, ...]
    """`<svg>` elements for the page, wide and narrow."""
    spec: dict[str, Any]
    """The wide drawing as a Vega-Lite specification."""


def render(figure: Figure) -> Rendered:
    """Draw a figure for the page: plain shapes and text only, colours as CSS variables.

    Whatever else the drawing library emits is left out, so that no name out of a run's files can bring in a
    link, a style or a script.
    """
    wide_spec, wide = _fitted(figure, WIDE)
    _, narrow = _fitted(figure, NARROW)
    return Rendered(figure, (_element(wide, figure, "wide"), _element(narrow, figure, "narrow")), wide_spec)


def _fitted(figure: Figure, width: int) -> tuple[dict[str, Any], str]:
    """The specification and the SVG of a figure `width` pixels wide, labels included.

    Only drawing tells how much the labels add to the axes, so it is drawn twice.
    """
    import vl_convert

    spec: dict[str, Any] = figure.draw(width, width >= WIDE).to_dict(validate=False)
    first = ElementTree.fromstring(vl_convert.vegalite_to_svg(spec))
    _widen(spec, width - round(float(first.get("width", width))))
    return spec, vl_convert.vegalite_to_svg(spec)


def _widen(spec: dict[str, Any], pixels: int) -> None:
    """Make the panels wider by so many pixels in all, those side by side by equal parts."""
    if "width" in spec:
        spec["width"] = max(80, spec["width"] + pixels)
    for panel in spec.get("vconcat", ()):
        _widen(panel, pixels)
    for panel in spec.get("hconcat", ()):
        _widen(panel, pixels // len(spec["hconcat"]))


def _element(drawn: str, figure: Figure, name: str) -> str:
    root = ElementTree.fromstring(drawn)
    _keep_shapes(root, variables_by_light_value())
    root.set("role", "img")
    root.set("aria-label", figure.alt)
    root.set("class", name)
    root.set("data-kind", figure.kind)
    ElementTree.register_namespace("", _SVG)
    return ElementTree.tostring(root, encoding="unicode")


def _keep_shapes(element: ElementTree.Element, variables: dict[str, str]) -> None:
    for name, value in list(element.attrib.items()):
        if name not in _ATTRIBUTES:
            del element.attrib[name]
        elif name in ("fill", "stroke"):
            element.set(name, variables.get(value.lower(), value))
        elif name in ("d", "transform"):
            element.set(name, _LONG_DECIMAL.sub(lambda m: f"{float(m.group()):.2f}", value))
    for child in list(element):
        hidden = child.get("display") == "none" or child.get("class") == "background"
        if child.tag.removeprefix(f"{{{_SVG}}}") not in _ELEMENTS or (hidden and len(child) == 0):
            element.remove(child)
        else:
            _keep_shapes(child, variables)


def png(rendered: Rendered) -> bytes:
    """The figure with its title and caption as a PNG on white, at twice the size of the page."""
    import vl_convert

    inner = {key: value for key, value in rendered.spec.items() if key not in ("$schema", "config")}
    config = {**rendered.spec["config"], "background": light("paper"), "padding": 24}
    title = {
        "text": rendered.figure.title,
        "subtitle": textwrap.wrap(rendered.figure.caption, 125),
        "anchor": "start",
        "fontSize": 18,
        "offset": 18,
        "subtitleFontSize": 12,
        "subtitleColor": light("muted"),
        "subtitlePadding": 8,
        "subtitleLineHeight": 16,
    }
    framed = {"$schema": rendered.spec["$schema"], "config": config, "title": title, "concat": [inner]}
    data: bytes = vl_convert.vegalite_to_png(framed, scale=2)
    return data


def table(figure: Figure) -> bytes:
    """The data of a figure as CSV in UTF-8.

    A text that a spreadsheet would run as a formula (beginning with = + - @) is led by an apostrophe.
    """
    out = io.StringIO()
    columns = list(dict.fromkeys(column for row in figure.rows for column in row))
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_cell(column) for column in columns])
    for row in figure.rows:
        writer.writerow([_cell(row.get(column)) for column in columns])
    return out.getvalue().encode()


def _cell(value: str | int | float | None) -> str | int | float:
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
