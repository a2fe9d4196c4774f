"""The colours of page and figures, each named once with its light and its dark value.

Data colours are those of Okabe and Ito (Color Universal Design, 2008), told apart with any common colour
vision; text on paper keeps a contrast of at least 4.5:1, so labels use a darker or lighter shade of the
colour of their line. Figures are drawn in the light values; in the page each becomes a CSS variable.
"""

from __future__ import annotations

COLOURS: dict[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#14161a"),
    "wash": ("#f5f6f7", "#1d2025"),
    "rule": ("#dadde1", "#363b42"),
    "ink": ("#1b1e22", "#e9e7e4"),
    "muted": ("#5c626a", "#a4aab3"),
    "blue": ("#0072b2", "#56b4e9"),
    "blue-text": ("#0070af", "#6dbfee"),
    "vermillion": ("#d55e00", "#ec7f35"),
    "vermillion-text": ("#b04e00", "#f29a5f"),
    "green": ("#009e73", "#22b78e"),
    "green-text": ("#007a59", "#45cba6"),
    "purple": ("#cc79a7", "#d48fb6"),
    "purple-text": ("#a14f7c", "#dfa5c6"),
    "orange": ("#e69f00", "#e6a51a"),
    "orange-text": ("#8a5f00", "#ecb84a"),
    "sky": ("#57b5ea", "#8fd0f5"),
    "sky-text": ("#1d719c", "#9cd6f7"),
    "grey": ("#878d95", "#7d848d"),
    "grey-text": ("#5d636b", "#a5abb4"),
}
"""Name to (light, dark). Light values are distinct, so that a drawn colour names its variable."""

RUNS = ("blue", "vermillion", "green", "purple", "orange", "sky", "grey")
"""Colours of several runs in one figure, in order; after the last they begin again."""


def light(name: str) -> str:
    """The light value of a colour, as figures are drawn."""
    return COLOURS[name][0]


def run_colour(number: int) -> str:
    """The colour name of run `number`, from 0."""
    return RUNS[number % len(RUNS)]


def css_variables() -> str:
    """The style rules that define every colour as `--name`, light, dark and printed."""
    light_rules = "".join(f"--{name}:{value};" for name, (value, _) in COLOURS.items())
    dark_rules = "".join(f"--{name}:{value};" for name, (_, value) in COLOURS.items())
    classes = "".join(f".ink-{name}{{color:var(--{name})}}" for name in COLOURS)
    return (
        f":root{{color-scheme:light dark;{light_rules}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{dark_rules}}}}}{classes}"
    )


def variables_by_light_value() -> dict[str, str]:
    """From a colour as drawn to the variable that stands for it in the page."""
    return {value: f"var(--{name})" for name, (value, _) in COLOURS.items()}
