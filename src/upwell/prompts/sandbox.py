"""A model's own chat template, rendered as transformers does but as the stranger's program that it is.

A checkpoint's template is Jinja code from whoever made the checkpoint. It runs in Jinja's immutable
sandbox (no attribute that leads to Python's internals), and its time, loop ranges and the strings it
builds are bounded. What the bounds do not cover is memory grown by a filter on strings that are each
within the bounds.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from types import FrameType
from typing import TYPE_CHECKING, Any

import jinja2
import jinja2.ext
import jinja2.sandbox
from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from upwell.errors import UsageError

if TYPE_CHECKING:
    from upwell.prompts import Chat

LONGEST = 1_000_000
"""Characters of the longest string, and items of the longest list, that a template may build."""
LARGEST_ARGUMENT = 100_000
"""Largest number that a template may give to a method or filter (as in `ljust`)."""
SECONDS = 2.0
"""CPU seconds that one rendering may take; real templates take about a millisecond."""

DATE = datetime(2024, 7, 26)
"""What `strftime_now` tells: a fixed day, or the same run would mean another prompt tomorrow. It is the
day that Llama 3's own template falls back on."""


class _Refused(Exception):
    """The template did what it must not."""


class _Generation(jinja2.ext.Extension):
    """`{% generation %}` marks the assistant's words for training; for rendering it is transparent."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's interface

    def parse(self, parser: Any) -> list[nodes.Node]:
        next(parser.stream)
        body: list[nodes.Node] = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return body


class _ConcatAsAdd(NodeTransformer):
    """Rewrites `a ~ b`, which the sandbox cannot intercept, as a call of a bounded function."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return nodes.Call(
            nodes.Name("_concatenated", "load", lineno=node.lineno),
            node.nodes,
            [],
            None,
            None,
            lineno=node.lineno,
        )


class _Sandbox(jinja2.sandbox.ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(("*", "**", "+", "%"))

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            autoescape=False,
            extensions=[_Generation, jinja2.ext.loopcontrols],
        )
        self.filters = {name: _bounded(made) for name, made in self.filters.items()}
        self.filters["tojson"] = _tojson
        self.filters["format"] = _format
        del self.globals["lipsum"]
        self.globals.update(
            raise_exception=_raise_exception, strftime_now=DATE.strftime, _concatenated=_concatenated
        )

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        parsed: nodes.Template = _ConcatAsAdd().visit(super()._parse(source, name, filename))
        return parsed

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            for many, times in ((left, right), (right, left)):
                if isinstance(many, str | list | tuple) and isinstance(times, int):
                    _check_length(len(many) * times)
        elif operator == "**" and (abs(left) > LARGEST_ARGUMENT or abs(right) > 64):
            raise _Refused("a power too large")
        elif operator == "%" and isinstance(left, str):
            _check_widths(left)
        elif operator == "+" and isinstance(left, str | list) and isinstance(right, str | list):
            _check_length(len(left) + len(right))
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is not None:
            _check_widths(value.__self__)
        return wrapped

    def call(self, context: Any, called: Any, *args: Any, **kwargs: Any) -> Any:
        _check_arguments(args, kwargs)
        result = super().call(context, called, *args, **kwargs)
        _check_result(result)
        return result


def compiled(chat: Chat) -> Callable[[str], str]:
    """A function from the user's words to the prompt that ends where the assistant begins.

    Raises:
        UsageError: The template is not valid Jinja.
    """
    environment = _Sandbox()
    try:
        template = environment.from_string(chat.template)
    except (jinja2.TemplateError, RecursionError, SyntaxError, ValueError) as error:
        raise _trouble(chat, "cannot be read", error) from None
    tokens = {"bos_token": chat.bos_token, "eos_token": chat.eos_token}
    variables = {name: token for name, token in tokens.items() if token is not None}

    def render(words: str) -> str:
        messages = [{"role": "user", "content": words}]
        try:
            with _deadline(SECONDS):
                pieces: list[str] = []
                length = 0
                for piece in template.generate(
                    messages=messages, add_generation_prompt=True, tools=None, documents=None, **variables
                ):
                    pieces.append(piece)
                    length += len(piece)
                    _check_length(length)
        except (_Refused, jinja2.TemplateError, RecursionError, MemoryError) as error:
            raise _trouble(chat, "was refused", error) from None
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise _trouble(chat, "failed", error) from None
        return "".join(pieces)

    return render


def _trouble(chat: Chat, what: str, error: BaseException) -> UsageError:
    line = getattr(error, "lineno", None)
    at = f" (line {line})" if line else ""
    text = str(error) or type(error).__name__
    return UsageError(
        f"the chat template of {chat.where} {what}{at}: {type(error).__name__.lstrip('_')}: {text[:300]}",
        "--prompt plain",
    )


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Ends template code (and nothing else) that runs longer, by watching its lines go by.

    A signal would work on the main thread only, and a thread cannot be stopped.
    """
    until = time.thread_time() + seconds
    before = sys.gettrace()

    def on_line(frame: FrameType, event: str, argument: Any) -> Any:
        if time.thread_time() > until:
            raise _Refused(f"still running after {seconds:g} s")
        return on_line

    def on_call(frame: FrameType, event: str, argument: Any) -> Any:
        return on_line if frame.f_code.co_filename == "<template>" else None

    sys.settrace(on_call)
    try:
        yield
    finally:
        sys.settrace(before)


def _concatenated(*parts: Any) -> str:
    texts = [str(part) for part in parts]
    _check_length(sum(map(len, texts)))
    return "".join(texts)


def _bounded(made: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that refuses huge arguments and huge results."""

    def bounded(*args: Any, **kwargs: Any) -> Any:
        _check_arguments(args, kwargs)
        result = made(*args, **kwargs)
        _check_result(result)
        return result

    for mark in ("jinja_pass_arg", "jinja_async_variant"):
        if hasattr(made, mark):
            setattr(bounded, mark, getattr(made, mark))
    return bounded


def _check_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    for argument in (*args, *kwargs.values()):
        if isinstance(argument, int) and abs(argument) > LARGEST_ARGUMENT:
            raise _Refused(f"the argument {argument} is beyond {LARGEST_ARGUMENT:,}")


def _check_result(result: Any) -> None:
    if isinstance(result, str | list | tuple):
        _check_length(len(result))


def _check_length(length: int) -> None:
    if length > LONGEST:
        raise _Refused(f"builds something {length:,} long, beyond {LONGEST:,}")


def _check_widths(pattern: str) -> None:
    """Refuses a format string that could pad its result to any width."""
    if re.search(r"\d{6}|\*", pattern):
        raise _Refused("a format string with a huge width")


def _format(pattern: str, *args: Any, **kwargs: Any) -> str:
    _check_widths(pattern)
    return pattern % (kwargs or args)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **kwargs: Any) -> str:
    """JSON without Jinja's escaping of HTML, which would change the prompt."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **kwargs)
