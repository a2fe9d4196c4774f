"""Answers in sentences: where in "Tim saves $34 per month by cancelling ..." the answer stands."""

from __future__ import annotations

import re

MAX_CHARS = 4_000
_REFUSALS = re.compile(
    r"\b(?:cannot|can't|can not|could not|unable|impossible|not possible|insufficient|not enough|undetermined"
    r"|no (?:real |integer |valid |such |unique )?(?:solutions?|answers?|values?|number)|undefined"
    r"|indeterminate|unknown|infinitely|infinite|unbounded|\w*(?:Error|Exception)\b|not implemented"
    r"|else|otherwise|no algorithms|does not exist|doesn't exist|none of)\b",
    re.I,
)
_LEAD = re.compile(
    r"^(?:so|thus|therefore|hence|then|finally|in total|altogether|overall|approximately|about|around|roughly"
    r"|exactly|only|the (?:final )?answer is|it is|it's)\b[,:]?\s*",
    re.I,
)
_ADVERBIAL = re.compile(
    r"^(?:after|in|for|by|if|on|at|when|with|since|given|from|during|over|to|of|out of|per)\b[^,.]*,\s*", re.I
)
_TAIL = re.compile(
    r"(?:,\s+(?:where|with|when|for|which|since|assuming|because|as|so|and the)\b|\s+(?:where|if|when|because"
    r"|since|assuming|after|before|by|instead|than|left over|such that|which|that|so that|in order"
    r"|for (?:all|any|some|each|every))\b)",
    re.I,
)
_PARENTHESIS = re.compile(r"\s\([^()]*[A-Za-z]{3,}[^()]*\)")
_COPULA = re.compile(
    r"\b(?:is|are|was|were|equals?|be|will be|has|have|had|costs?|takes?|needs?|makes?|made|earns?|pays?|paid"
    r"|saves?|gets?|lasts?|lasted|weighs?|gives?|becomes?|totals?|spent|remains?)\b(?:\s+(?:about|approximately|only"
    r"|equal to|exactly|a total of|therefore|thus|also|to be|now))*\s+",
    re.I,
)
_SENTENCE = re.compile(r"(?<=[A-Za-z0-9)}%$])[.!?](?:\s+|$)(?=[A-Z\\$\d(]|$)|\n")
_AMOUNT = re.compile(
    r"(?<![A-Za-z0-9_.^{\\*(])[-+]?\s?[$€£]?\s?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\s\d+/\d+|\s?/\s?\d+)?%?(?![A-Za-z0-9]*[=^_{])"
)
_TALK = re.compile(r"[^\W\d_]{3}|[^\W\d_\x00-\x7f]")
"""What a formula has none of: a word of three letters, a letter of another script."""
_SEVERAL = re.compile(
    rf"(?:(?:both|either)\s)?({_AMOUNT.pattern}(?:,\s{_AMOUNT.pattern})*,?\s(?:and|or)\s{_AMOUNT.pattern})(?:\W|$)",
    re.I,
)
_WORDS = re.compile(r"[A-Za-z]{2,}")
_COMMANDS = re.compile(r"\\[A-Za-z]+")
_CODE = re.compile(
    r"__|\(\)|\b(?!sqrt|sin|cos|tan|log|ln|exp|abs|max|min|gcd|lcm|floor|ceil|pi)[A-Za-z_]{2,}\(|\\(?:input|write)"
)
_FIELD = re.compile(r"[\"'][\w ]{1,40}[\"']\s?:\s?[\"']?([^\"'{}]{1,80}?)[\"']?\s*\}?$")
_DECIDED = re.compile(r"(yes|no)[,.;:]\s")
_ARTICLES = frozenset(("the", "a", "an", "on", "it", "is", "it's", "at", "by"))


def candidates(answer: str) -> list[str]:
    """Parts of a worded answer that may be the answer itself, the likeliest first."""
    if len(answer) > MAX_CHARS or _CODE.search(answer) or not _TALK.search(_COMMANDS.sub(" ", answer)):
        return []
    field = _FIELD.search(answer)
    if field:
        return [field[1]]
    if _REFUSALS.search(answer) or answer.count("{") != answer.count("}"):
        return []
    text = _PARENTHESIS.sub("", answer)
    found = []
    if "=" in text:
        text = text[text.rindex("=") + 1 :].lstrip("> ").strip()
        if text.count("{") != text.count("}"):
            return []
        found.append(_SENTENCE.split(text)[0].strip())
    elif text != answer and not _WORDS.search(_COMMANDS.sub("", text)):
        return [text]
    sentence = next((s for s in _SENTENCE.split(text) if any(c.isdigit() for c in s)), "").strip()
    previous = None
    while sentence != previous:
        previous = sentence
        sentence = _ADVERBIAL.sub("", _LEAD.sub("", sentence))
    head = _TAIL.split(sentence)[0].strip(" ,.;:")
    sentence = head if any(c.isdigit() for c in head) else sentence
    found.append(sentence)
    copula = _COPULA.search(sentence)
    rest = sentence[copula.end() :].strip() if copula else ""
    found += [rest, _amount(rest), _amount(sentence)]
    return [piece for piece in found if piece and piece != answer]


def _amount(text: str) -> str:
    match = _AMOUNT.search(text)
    if match is None:
        return ""
    several = _SEVERAL.match(text, match.start())
    return (several[1] if several else match[0]).strip()


def folded(answer: str) -> str:
    """A text answer without case, markup, articles and punctuation at its ends."""
    text = (
        re.sub(r"\\(?:text|font|boxed|quad|qquad)\b", " ", answer[:100_000]).replace("{", "").replace("}", "")
    )
    decided = _DECIDED.match(text.casefold().strip())
    if decided:
        return decided[1]
    words = text.casefold().strip(" .,;:!\"'`*()[]").split()
    while len(words) > 1 and words[0] in _ARTICLES:
        words = words[1:]
    return " ".join(words)
