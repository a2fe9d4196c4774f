"""The structure of an answer: lists, sets, tuples, intervals, unions, matrices, down to leaves."""

from __future__ import annotations

from collections.abc import Sequence

from upwell.grading.answers import Answer, listing
from upwell.grading.intervals import REALS, common, punctured
from upwell.grading.leaves import leaf
from upwell.grading.lexer import Token, Unreadable
from upwell.grading.notation import NEW_ROW
from upwell.grading.relations import INEQUALITIES, RELATIONS, assigned_name, is_label, related
from upwell.grading.runs import OPENING, is_and, is_op, partner, split, top_level

MAX_ITEMS = 400
MAX_DEPTH = 12
_LINES = frozenset(("aligned", "align", "align*", "cases", "gathered", "split", "equation", "equation*"))
_ARROWS = frozenset(("\\Rightarrow", "\\Leftrightarrow", "\\rightarrow", "\\to", "\\therefore"))


_SEPARATORS = (
    frozenset((",", ";", ":", "\\in", "\\setminus", "\\backslash", "\\cup", "\\cap", "&", NEW_ROW))
    | RELATIONS
)


_REALS = (["\\mathbb", "{", "R", "}"], ["\\mathbb", "R"], ["\\R"])


def _is_structural(token: Token) -> bool:
    """Whether a token can make a run more than a single value."""
    return token.kind == "env" or token.text in _SEPARATORS or is_and(token)


def structure(run: Sequence[Token], depth: int = 0) -> Answer:
    """The answer in a run of tokens. Raises `Unreadable` where it is no mathematics."""
    if depth > MAX_DEPTH:
        raise Unreadable("nested too deeply")
    run = _stripped(run)
    if not run:
        raise Unreadable("nothing there")
    for _ in range(200):
        if len(run) < 3 or run[0].text != "(" or partner(run, 0) != len(run) - 1 or _has_comma(run[1:-1]):
            break
        run = run[1:-1]
    if run[0].text not in OPENING and not any(map(_is_structural, run)):
        return REALS if [token.text for token in run] in _REALS else leaf(run)
    return (
        _matrix(run, depth)
        or _listed(run, depth)
        or _united(run, depth)
        or related(run, lambda piece: structure(piece, depth + 1))
        or _enclosed(run, depth)
        or leaf(run)
    )


def _has_comma(run: Sequence[Token]) -> bool:
    return any(token.text in (",", ";") for token in top_level(run))


def _stripped(run: Sequence[Token]) -> Sequence[Token]:
    """The run without separators at its ends and without braces or arrows that only wrap it."""
    while run and (run[-1].text in (",", ";", ".", ":") or (is_and(run[-1]) and len(run) > 1)):
        run = run[:-1]
    while run and (
        run[0].text in (",", ";", ":", "\\approx", "=", "\\therefore") or (is_and(run[0]) and len(run) > 1)
    ):
        run = run[1:]
    if any(token.text in _ARROWS for token in run):
        run = split(run, lambda token: token.text in _ARROWS)[-1] or run
    while len(run) > 2 and run[0].text == "{" and partner(run, 0) == len(run) - 1:
        run = run[1:-1]
    return run


def _matrix(run: Sequence[Token], depth: int) -> Answer | None:
    if run[0].text == "\\{" and len(run) > 2 and run[1].kind == "env" and run[-1].kind == "env":
        run = run[1:]  # a system of equations behind one brace
    if run[0].kind != "env" or run[-1].text != f"/{run[0].text}":
        return None
    if run[0].text == "vmatrix":
        raise Unreadable("a determinant")
    inner = run[1:-1]
    if run[0].text in ("array", "tabular") and inner and inner[0].text == "{":
        inner = inner[partner(inner, 0) + 1 :]
    if run[0].text in _LINES or (run[0].text == "array" and _is_system(inner)):
        return structure([token for token in inner if token.text != "&"], depth + 1)
    rows = [line for line in split(inner, is_op(NEW_ROW)) if line]
    if len(rows) > MAX_ITEMS:
        raise Unreadable("a matrix too large")
    cells = [[structure(cell, depth + 1) for cell in split(row, is_op("&"))] for row in rows]
    return _rows(cells)


def _is_system(inner: Sequence[Token]) -> bool:
    """Whether an array is one column of equations."""
    return not any(token.text == "&" for token in inner) and len(split(inner, is_op("="))) > 1


def _listed(run: Sequence[Token], depth: int) -> Answer | None:
    for at in (is_op(";", NEW_ROW), _is_joint, is_op(",")):
        pieces = [piece for piece in split(run, at) if piece]
        pieces = _without_provisos(pieces)
        if len(pieces) > MAX_ITEMS:
            raise Unreadable("a list too long")
        if len(pieces) == 1 and len(pieces[0]) < len(run):
            return structure(pieces[0], depth + 1)
        if len(pieces) > 1:
            if any(piece[0].text == "..." for piece in pieces):
                raise Unreadable("an elided list")
            if run[-1].text != "," and all(_is_working(piece) for piece in pieces):
                return structure(pieces[-1], depth + 1)
            return listing(
                [structure(piece, depth + 1) for piece in pieces], [assigned_name(p) for p in pieces]
            )
    return None


def _is_joint(token: Token) -> bool:
    return is_and(token) or token.text == "&"


def _without_provisos(pieces: list[Sequence[Token]]) -> list[Sequence[Token]]:
    """The pieces that answer, without `k \\in \\mathbb{Z}` and, behind a formula, `x \\ne 1`."""
    kept = [piece for piece in pieces if not _is_domain(piece)]
    answers = [piece for piece in kept if not any(token.text in INEQUALITIES for token in piece)]
    provisos = [piece for piece in kept if len(piece) > 2 and piece[1].text == "\\ne"]
    if answers and len(answers) + len(provisos) == len(kept):
        kept = answers
    return kept or pieces


def _is_domain(run: Sequence[Token]) -> bool:
    """`k \\in \\mathbb{Z}`: says what a parameter may be."""
    return len(run) >= 3 and [token.text for token in run[1:3]] == ["\\in", "\\mathbb"]


def _is_working(run: Sequence[Token]) -> bool:
    """Whether a piece is a line of arithmetic such as `50 - 5 = 45`, of which the last gives the answer."""
    sides = split(run, is_op("="))
    return (
        len(sides) > 1 and any(t.kind == "num" for t in sides[0]) and not any(t.kind == "name" for t in run)
    )


def _united(run: Sequence[Token], depth: int) -> Answer | None:
    member = split(run, is_op("\\in"))
    if len(member) == 2 and member[0]:
        if not is_label(member[0]):
            raise Unreadable("membership of a formula")
        return structure(member[1], depth + 1)
    without = split(run, is_op("\\setminus", "\\backslash"))
    if len(without) == 2 and [token.text for token in without[0]] == ["\\mathbb", "{", "R", "}"]:
        return punctured(list(structure(without[1], depth + 1).items))
    pieces = split(run, is_op("\\cup"))
    if len(pieces) == 1:
        return _intersected(run, depth)
    items = [structure(piece, depth + 1) for piece in pieces]
    if all(item.kind in ("set", "list") for item in items):
        return Answer("set", "", None, tuple(x for item in items for x in item.items))
    return Answer("union", "", None, tuple(items))


def _intersected(run: Sequence[Token], depth: int) -> Answer | None:
    pieces = split(run, is_op("\\cap"))
    if len(pieces) == 1:
        return None
    return common([structure(piece, depth + 1) for piece in pieces]) or Answer("set")


def _enclosed(run: Sequence[Token], depth: int) -> Answer | None:
    opening, closing = run[0].text, run[-1].text
    if opening not in OPENING or partner(run, 0) != len(run) - 1 or len(run) < 2:
        return None
    inner = run[1:-1]
    if opening in ("\\{", "{"):
        if not inner:
            return Answer("set")
        condition = split(inner, is_op("|", ":"))
        if len(condition) > 1:
            if len(condition) == 2 and (is_label(condition[0]) or _is_domain(condition[0])):
                return structure(condition[1], depth + 1)
            raise Unreadable("a set-builder")
        items = [structure(piece, depth + 1) for piece in split(inner, is_op(",", ";")) if piece]
        return Answer("set", "", None, listing(items).items)
    if opening not in ("(", "[", "\\langle"):
        return None
    pieces = split(inner, is_op(",", ";"))
    if len(pieces) == 1:
        return structure(inner, depth + 1) if inner else Answer("tuple", "()")
    brackets = "()" if opening == "\\langle" else opening + closing
    if len(pieces) > MAX_ITEMS or not all(pieces):
        raise Unreadable("no tuple")
    parts = tuple(structure(piece, depth + 1) for piece in pieces)
    if brackets == "[]" and all(part.kind == "tuple" and part.text == "[]" for part in parts):
        return _rows([part.items for part in parts])
    return Answer("tuple", brackets, None, parts)


def _rows(cells: Sequence[Sequence[Answer]]) -> Answer:
    if not cells or len({len(row) for row in cells}) != 1:
        raise Unreadable("a ragged matrix")
    return Answer("matrix", "", None, tuple(Answer("tuple", "()", None, tuple(row)) for row in cells))
