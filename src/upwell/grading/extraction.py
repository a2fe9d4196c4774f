"""Where in a response its final answer stands, by our own rules; all linear in its length."""

from __future__ import annotations

import re

_BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![A-Za-z])\s*")
_BARE_TOKEN = re.compile(r"-?\d+(?:\.\d+)?|[A-Za-z]")
_BRACE = re.compile(r"\\.|[{}]", re.S)
_MAX_BOX = 20_000
_MAX_BOXES = 60
_TAIL = 4_000
"""How far behind a marker an answer may reach."""

_SEPARATOR = r"[\s$.()\[\]{}&]|\\(?:q?quad|text(?:bf|rm)?|[()\[\],; ])"
_JOINT = re.compile(
    rf"(?:{_SEPARATOR})*(?:,|;|\b(?:and|or)\b(?! then))"
    rf"(?:{_SEPARATOR}|,|;|\b(?:and|or)\b|\b[a-zA-Z](?:_\{{?\w\}}?)?\s*=)*"
    r"|[\s$\\()\[\]]*\\text\s?\{[^{}]{0,40}\band\s*\}\s*"
)
"""What may stand between boxes that together are one answer."""
_VERB = r"(?:would|should|must|will|can|to)\s+be|is|are|was|equals?|comes to"
_ANSWER = re.compile(
    r"nswers?(?:[\"'`*_]|\*\*)*(?:\s*\((?:[^()\n]{1,40})\))?(?:\s+(?:to|for|of|in)\s[^.:\n$\\]{1,100}?)?"
    rf"(?:\s*(?:[:：=]|\*\*)+|\s+(?:{_VERB})\b(?:\s*(?:[:：]|\*\*))*|\s*\n+|(?=\s*[\\$\d]))"
)
_FOREIGN = re.compile(
    r"(?:答案(?:应该|应当)?(?:是|为|:|：)+|答\s?[:：]|réponse(?:\s+finale)?\s*(?:est|:)"
    r"|respuesta(?:\s+final)?\s*(?:es|:)|antwort\s*(?:ist|lautet|:)|resposta\s*(?:é|:)|risposta\s*(?:è|:)"
    r"|ответ\s*[:—-]?|الجواب\s*(?:هو|:)|الإجابة\s*(?:هي|:)|उत्तर\s*(?:है|:))",
    re.I,
)
_FINAL = re.compile(r"[Ff]inal [Aa]nswer(?:\s+is)?\s*:?\s*(?:The final answer is\s*:?)?", re.I)
_LINE_A = re.compile(r"(?:^|\n)\s*A:[ \t]*(\S[^\n]*)")
_SENTENCE_END = re.compile(
    r"(?<!\\)(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bapprox)(?<!\b[ap]\.m)[.!?](?=\s|$|\*|<|\")|。|\n|<\|"
)
_OPEN_MATH = re.compile(r"\$(?=[A-Za-z\\(\[{])")
_LAST_LINE = re.compile(r"\n?####[^\n]*\s*")
_QUOTED = re.compile(r'"((?:[^"\\\n]|\\.)*)"(?=\s*(?:[,}\].]|$|\n))')
_FLUFF = re.compile(r"\s*(?:I hope it is correct|<\|im_|<\|eot|</s>)")
_MATH = re.compile(
    r"\$\$([^$]{1,3000})\$\$|\$([^$\n]{1,1500})\$|\\\((.{1,1500}?)\\\)|\\\[(.{1,3000}?)\\\]", re.S
)
_NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.,])-?\s?\$?(?:\d{1,3}(?:,\d{3})+(?![\d])|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?(?:\s?/\s?\d+)?%?"
    r"|(?<![\w.])-?\.\d+"
)
_PROSE = re.compile(r"[A-Za-z]{3,}")
_COMMAND = re.compile(r"\\(?:text|begin|end)\s?\{[^{}]*\}|\\[A-Za-z]+")
_ASKED = re.compile(r"\b(?:find|compute|calculate|evaluate|simplify|determine|solve)\b[^.\n$\\]{0,60}$", re.I)
_NOT_CHOICE = re.compile(r"(?:\bnot|\bnon|n't(?: be)?|不是|\bisn't)\s*(?:option\s*)?\(?[A-J]\b\)?", re.I)
_RUNAWAY = re.compile(
    r"\n[ \t]{0,8}(?:Q|Question|Human|User|USER|Problem)\s?\d{0,3}:|\n#{1,4} (?:Instruction|Question)"
    r"|<\|im_start\|>user"
)
_SPEAKERS = ("Q", "Human", "User", "USER", "Problem", "Instruction", "im_start")
"""One of these is in whatever `_RUNAWAY` finds; most responses have none, and looking for them is cheap."""
_SOLUTIONS = re.compile(
    r"\b(?:solutions?|roots?|zeros|values|ratio|pairs?|points?|coordinates)\b[^.\n]{0,60}?\s(?:is|are)\s+"
    r"(\(?-?\d[-\d.,:;() /]{0,80}(?:\s*and\s+\(?-?\d[-\d.,() /]{0,40})?)\.?\s*$"
)
"""Several numbers at the end of a response, of which the last alone would not be the answer."""
_LABELLED_LINE = re.compile(r"\s*\(?[A-J][).:]\s[^\n()]{1,60}\s*")
_CHOSEN = re.compile(r"\b(?:choose|pick|select|choice|option)\s(?:is\s)?\(?([A-J])\b")
_LETTER = re.compile(r"\(([A-J])\)|(?<![A-Za-z'])(?:[B-HJ]|A(?=\s*(?:[.,;:!?。]|$)))(?![A-Za-z'])")
"""A choice; a bare I or A is more likely a word."""
_EMPTY = re.compile(r"[\s$*_\"'`{}\[\]().,:;\\-]*")


def auto(text: str) -> str | None:
    """Last complete box, else the last "the answer is", else `####`, else the last formula or number.

    A base model may go on to invent the next question: if an answer was given before, that one counts.
    """
    runaway = _RUNAWAY.search(text) if any(word in text for word in _SPEAKERS) else None
    given = _given(text[: runaway.start()])[0] if runaway else None
    if given is not None:
        return given
    given, cut = _given(text)
    return given if given is not None or cut else _last_value(text)


def _given(text: str) -> tuple[str | None, bool]:
    """The answer that a response marks as such, and whether one was begun and cut off."""
    boxed, end, cut = _last_boxes(text)
    if boxed is not None:
        return _stated_after(text, end) or boxed, False
    if cut:
        return None, True
    at = text.rfind("####")
    marked = _sentence(text[at + 4 : at + 4 + _TAIL]) if at >= 0 else ""
    if _EMPTY.fullmatch(marked):
        marked = ""
    if marked and _LAST_LINE.fullmatch(text, max(0, at - 1)):
        return marked, False
    stated, cut = _stated(text)
    return stated or (None if cut else marked or None), cut


def _last_boxes(text: str) -> tuple[str | None, int, bool]:
    """The last complete box with those that stand beside it, where it ends, and whether a box was cut off."""
    boxes: list[tuple[int, int, str]] = []
    cut = False
    at = len(text)
    for _ in range(_MAX_BOXES):
        at = max(text.rfind("\\boxed", 0, at), text.rfind("\\fbox", 0, at), text.rfind("\\framebox", 0, at))
        if at < 0:
            break
        match = _BOX.match(text, at)
        content = _group(text, match.end()) if match else None
        if content is None:
            cut |= match is not None and not boxes
            continue
        assert match is not None
        end = match.end() + len(content) + 2 * text.startswith("{", match.end())
        if not content.strip():
            if boxes:
                break
            cut = True  # a box left empty is an answer not given
            continue
        if boxes and not (
            boxes[-1][0] >= end and boxes[-1][0] - end <= 80 and _JOINT.fullmatch(text, end, boxes[-1][0])
        ):
            break
        boxes.append((at, end, content))
    if not boxes:
        return None, 0, cut
    return ", ".join(content for _, _, content in reversed(boxes)), boxes[0][1], False


def _group(text: str, start: int) -> str | None:
    """The content of the brace group at `start`, or one bare token; None if it never closes."""
    if not text.startswith("{", start):
        bare = _BARE_TOKEN.match(text, start)
        return bare[0] if bare else None
    closed = text.find("}", start, start + _MAX_BOX)
    content = text[start + 1 : closed] if closed >= 0 else "{"
    if "{" not in content and "\\" not in content:
        return content
    depth = 0
    for match in _BRACE.finditer(text, start, start + _MAX_BOX):
        if match[0] == "{":
            depth += 1
        elif match[0] == "}":
            depth -= 1
            if depth == 0:
                return text[start + 1 : match.start()]
    return None


def _stated_after(text: str, end: int) -> str | None:
    """A "Final Answer: ..." behind the last box, which then is what the response ends on."""
    if text.find("inal ", end) < 0:
        return None
    last = None
    for last in _FINAL.finditer(text, end):  # noqa: B007
        pass
    if last is None:
        return None
    found = _sentence(text[last.end() : last.end() + _TAIL])
    return found if any(c.isdigit() for c in found) and not _is_cut(found) else None


def _stated(text: str) -> tuple[str | None, bool]:
    """What follows the last "answer is", "Answer:" or "A:", and whether it was cut off."""
    marks: list[int] = []
    at = len(text)
    for _ in range(20):
        at = text.rfind("nswer", 0, at)
        if at < 0:
            at = text.rfind("NSWER", 0, at) if at != -1 else -1
        if at < 0:
            break
        match = _ANSWER.match(text, at)
        if match and not _EMPTY.fullmatch(text, match.end(), match.end() + 200):
            marks.append(match.end())
            break
    upper = text.rfind("ANSWER:")
    if upper >= 0:
        marks.append(upper + 7)
    if not text.isascii():
        for match in _FOREIGN.finditer(text):
            marks.append(match.end())
    lines = text.rfind("A:")
    if lines >= 0 and (line := _LINE_A.search(text, max(0, lines - 3))):
        marks.append(line.start(1))
    if not marks:
        return None, False
    start = max(marks)
    found = _sentence(text[start : start + _TAIL])
    if _is_cut(found):
        return None, True
    return (found, False) if not _EMPTY.fullmatch(found) else (None, False)


def _is_cut(found: str) -> bool:
    return found.count("{") > found.count("}")


def _sentence(tail: str) -> str:
    """The first sentence of what follows a marker, or the formula that it begins with."""
    tail = tail.lstrip(" \t\r\n*:_").strip()
    fluff = _FLUFF.search(tail)
    if fluff:
        tail = tail[: fluff.start()].rstrip(" .")
    quoted = _QUOTED.match(tail)
    if quoted:
        return quoted[1]
    end = next((m.start() for m in _SENTENCE_END.finditer(tail) if _is_closed(tail[: m.start()])), len(tail))
    piece = tail[:end]
    math = _MATH.match(piece)
    if math and _is_aside(piece[math.end() :]):
        return math[0]
    piece = piece.strip().strip("*_`").rstrip(",;").strip()
    chosen = _NOT_CHOICE.sub("", piece).strip(" ,;") if len(piece) < 40 else piece
    return chosen if len(chosen) == 1 else piece


def _is_closed(piece: str) -> bool:
    """Whether a sentence may end here: not inside braces, an environment or a formula, nor behind a colon."""
    if piece.count("{") != piece.count("}") or piece.count("\\begin") != piece.count("\\end"):
        return False
    if piece.count("\\[") > piece.count("\\]") or piece.count("$$") % 2 or piece.rstrip().endswith(":"):
        return False
    return piece.count("$") % 2 == 0 or not _OPEN_MATH.search(piece, piece.rindex("$"))


def _is_aside(rest: str) -> bool:
    """Whether what follows a formula is only talk: no further formula, number, percent sign or choice."""
    return not re.search(r"[\d$%]|\\|\band\b|\bor\b|\bpe?r?ce?n?t", rest)


def _last_value(text: str) -> str | None:
    """The last formula or number; without either, a letter of a multiple choice."""
    tail = text[-_TAIL:]
    number = formula = None
    for number in _NUMBER.finditer(tail):  # noqa: B007
        pass
    for match in _MATH.finditer(tail):
        if not _PROSE.search(_COMMAND.sub(" ", match[0])):
            formula = match
    listed = _SOLUTIONS.search(tail)
    if listed:
        return listed[1]
    if _LABELLED_LINE.fullmatch(tail):
        return tail
    if formula and (
        number is None or (number.end() <= formula.end() and any(c.isdigit() for c in formula[0]))
    ):
        return None if _ASKED.search(tail, 0, formula.start()) else formula[0]
    if formula and number and _EMPTY.fullmatch(tail, formula.end(), number.start()):
        return tail[formula.start() : number.end()]
    if number:
        return number[0]
    chosen = _CHOSEN.search(tail)
    if chosen:
        return chosen[1]
    letters = [match[1] or match[0] for match in _LETTER.finditer(_NOT_CHOICE.sub(" ", tail))]
    return letters[-1] if letters else None


# -- parts of it as styles of their own


def boxed(text: str) -> str | None:
    """The last complete box, or the last ones that together are one answer."""
    return _last_boxes(text)[0]


def last_number(text: str) -> str | None:
    """The last number of the last few thousand characters."""
    number = None
    for number in _NUMBER.finditer(text[-_TAIL:]):  # noqa: B007
        pass
    return number[0] if number else None


def whole(text: str) -> str | None:
    """All of a text that is nothing but an answer."""
    return text
