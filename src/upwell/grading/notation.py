"""Spelling: one way to write each mark of an answer, so that the parser sees few alternatives.

Everything here is linear in the length of the text; nothing here decides what an answer means.
"""

from __future__ import annotations

import re

NEW_ROW = "\ue000"
"""What a double backslash becomes inside an environment: the end of a row."""

_SYMBOLS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "×": "*", "·": "*", "∙": "*", "⋅": "*", "÷": "/",
    "π": "\\pi ", "∞": "\\infty ", "≤": "\\le ", "≥": "\\ge ", "⩽": "\\le ", "⩾": "\\ge ", "≠": "\\ne ",
    "≈": "\\approx ", "±": "\\pm ", "°": "^\\circ ", "º": "^\\circ ", "∪": "\\cup ", "∩": "\\cap ",
    "∈": "\\in ", "√": "\\sqrt ", "∛": "\\sqrt[3] ", "θ": "\\theta ", "α": "\\alpha ", "β": "\\beta ",
    "γ": "\\gamma ", "λ": "\\lambda ", "ω": "\\omega ", "φ": "\\phi ", "ℝ": "\\mathbb{R}",
    "½": "\\frac12 ", "⅓": "\\frac13 ", "⅔": "\\frac23 ", "¼": "\\frac14 ", "¾": "\\frac34 ",
    "⅛": "\\frac18 ",
    "“": '"', "”": '"', "‘": "'", "’": "'", "′": "'", "，": ",", "。": ".", "：": ":", "；": ";",
    "（": "(", "）": ")", "％": "%", "＝": "=", "＋": "+", "－": "-", "⟨": "\\langle ", "⟩": "\\rangle ",
    "∅": "\\emptyset ", "→": "\\to ", "⇒": "\\Rightarrow ", "￥": "¥", "＄": "$",
}  # fmt: skip
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_TRANSLATION: dict[int, str | None] = {ord(old): new for old, new in _SYMBOLS.items()}
_TRANSLATION |= {0xFF10 + d: str(d) for d in range(10)}  # full-width digits
_TRANSLATION |= {code: None for code in (*range(9), *range(14, 32), 127, 0xAD, 0xFEFF, 0x2060)}
_TRANSLATION |= {
    code: None for code in (*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2061, 0x206A))
}
_TRANSLATION |= {
    code: " " for code in (9, 10, 11, 12, 13, 0xA0, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F)
}
_TRANSLATION |= {0x205F: " ", 0x3000: " "}

_SUPERSCRIPT_RUN = re.compile("[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹ⁿ]+")
_SUBSCRIPT_RUN = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_ESCAPED_UNICODE = re.compile(r"\\u([0-9a-fA-F]{4})")
_HTML_SCRIPT = re.compile(r"<(sub|sup)>([^<>]{1,40})</\1>")
_DROPPED = re.compile(
    r"\\(?:left|right|[bB]igg?[lrm]?|displaystyle|textstyle|scriptstyle|limits|nolimits|hfill|hspace\{[^{}]*\}"
    r"|notag|nonumber|rm|bf|it|Large|large|phantom\{[^{}]*\})(?![A-Za-z])"
)
_LEFT_DOT = re.compile(r"\\(?:left|right)\s*\.")
_NEGATIVE_SPACE = re.compile(r"\\!\s*")
_SPACING = re.compile(
    r"\\(?:[,;:>! ]|qquad|quad|enspace|enskip|thinspace|thickspace|medspace|negthinspace)|~"
)
_FONT = re.compile(
    r"\\(?:mathrm|mathbf|mathit|mathsf|mathtt|mathcal|boldsymbol|bm|pmb|mathnormal|bold|underline|textcolor\{\w+\}"
    r"|color\{\w+\}|mathop|operatorname\*?|ensuremath)\s*(?=\{)"
)
_TEXT = re.compile(r"\\(?:text(?:bf|it|rm|normal|sf|tt|sl|sc|up)?|mbox|hbox|textnormal|emph)\s*(?=\{)")
_NEW_NAMES = {
    "dfrac": "\\frac", "tfrac": "\\frac", "cfrac": "\\frac", "leq": "\\le ", "leqslant": "\\le ",
    "geq": "\\ge ", "geqslant": "\\ge ", "neq": "\\ne ", "dbinom": "\\binom", "tbinom": "\\binom",
    "times": "*", "cdot": "*", "ast": "*", "div": "/", "lt": "<", "gt": ">", "land": "\\text{and}",
    "lor": "\\text{or}", "mid": "|", "vert": "|", "lvert": "|", "rvert": "|", "lbrace": "\\{",
    "rbrace": "\\}", "lbrack": "[", "rbrack": "]", "colon": ":", "degree": "^\\circ ", "in": "\\in ",
    "iff": "\\Leftrightarrow ", "implies": "\\Rightarrow ", "to": "\\to ", "longrightarrow": "\\to ",
    "infin": "\\infty ", "prime": "'", "percent": "%", "arcsin": "\\asin ", "arccos": "\\acos ",
    "arctan": "\\atan ", "arctg": "\\atan ", "cosec": "\\csc ", "cotan": "\\cot ", "tg": "\\tan ",
    "ctg": "\\cot ", "dots": "...", "ldots": "...", "cdots": "...", "dotsc": "...",
    "dotsb": "...",
}  # fmt: skip
_RENAMED = re.compile(rf"\\({'|'.join(_NEW_NAMES)})(?![A-Za-z])")
_DOUBLED = re.compile(r"\\\\(?=[A-Za-z({\[%$,;!)}\]])")
_ORDINAL = re.compile(r"(?<=\d)\s?\^\s?\{\s?\\(?:text|font)\s?\{\s?(?:st|nd|rd|th)\s?\}\s?\}")
_OVER = re.compile(r"\{([^{}]{1,200})\\over(?![A-Za-z])([^{}]{1,200})\}")
_BROKEN_LINE = re.compile(r"([-+*/=])\s?,(?=\s)")
"""An operator behind which a formula was set on a new line."""
_CHOOSE = re.compile(r"\{([^{}]{1,60})\\choose(?![A-Za-z])([^{}]{1,60})\}")
_NEXT_EQUATION = re.compile(r"\s*\\q?quad\s*(?=[A-Za-z]'?(?:_\{?\w{1,3}\}?)?\s*=)")
_SPACES = re.compile(r"\s+")
_DELIMITERS = re.compile(r"\\[()\[\]](?!\s*\d+\s*(?:pt|em|ex)\])")
_ROUND = re.compile(r"^(?:\*\*|__|`+|\"|')(.*?)(?:\*\*|__|`+|\"|')[.,;]?$", re.S)


def plain(text: str) -> str:
    """The text without invisible characters, in ASCII digits and LaTeX names for mathematical symbols."""
    if text.isascii():
        if text.isprintable():
            return text
        return text.translate(_TRANSLATION)
    text = _SUPERSCRIPT_RUN.sub(lambda m: "^{" + m[0].translate(_SUPERSCRIPTS) + "}", text)
    text = _SUBSCRIPT_RUN.sub(lambda m: "_{" + m[0].translate(_SUBSCRIPTS) + "}", text)
    return text.translate(_TRANSLATION)


def spelled(answer: str) -> str:
    """One spelling of an answer's LaTeX: no dollar signs, sizes or thin spaces, `\\text` for all text."""
    text = answer
    if "\\u" in text:
        text = _ESCAPED_UNICODE.sub(lambda m: chr(int(m[1], 16)), text)
    text = plain(text)
    if "<su" in text:
        text = _HTML_SCRIPT.sub(lambda m: ("_{" if m[1] == "sub" else "^{") + m[2] + "}", text)
    if "\\" in text:
        text = _latex(text)
    text = _SPACES.sub(" ", text.replace("$", "").replace("{,}", ",")).strip()
    if text[:2] == "**" and (bold := _ROUND.match(text)):
        text = bold[1].strip()
    text = text.replace("**", "^")
    if ", " in text:
        text = _BROKEN_LINE.sub(r"\1", text)
    while len(text) > 1 and text[-1] in ".,;:\\" and not text.endswith("..."):
        text = text[:-1].rstrip()
    if len(text) > 2 and text[0] in "\"'`*_" and (round_ := _ROUND.match(text)):
        text = round_[1].strip()
    return text


def _latex(text: str) -> str:
    text = text.replace("\\\\", NEW_ROW) if "\\begin" in text else _DOUBLED.sub(r"\\", text)
    text = text.replace("\\$", "$")
    text = _LEFT_DOT.sub("", text)
    text = _DROPPED.sub("", text)
    text = _NEGATIVE_SPACE.sub("", text)
    if "quad" in text:
        text = _NEXT_EQUATION.sub(", ", text)
    text = _SPACING.sub(" ", text)
    text = _TEXT.sub(r"\\text", text)
    text = _FONT.sub(r"\\font", text)
    text = _RENAMED.sub(lambda m: _NEW_NAMES[m[1]], text)
    if "\\begin" not in text:
        text = _DELIMITERS.sub(" ", text)
    text = _ORDINAL.sub("", text.replace("\\|", "|"))
    if "\\over" in text:
        text = _OVER.sub(r"{\\frac{\1}{\2}}", text)
    if "\\choose" in text:
        text = _CHOOSE.sub(r"\\binom{\1}{\2}", text)
    return text.replace("\\%", "%").replace("\\#", "#").replace("\\&", "&").replace("\\_", "_")
