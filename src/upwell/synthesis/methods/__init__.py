"""The methods that make questions: each asks a teacher, reads what it says, and gives a draft or turns it down."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial

from upwell.errors import UsageError
from upwell.synthesis import solving
from upwell.synthesis.asking import Asked, Seed
from upwell.synthesis.methods import changes, metamath, xwin
from upwell.synthesis.settings import PROCEDURAL, REJECTION

Method = Callable[[Seed], Asked]

_SOLVING = (solving.SOLVE, solving.NUMERIC, solving.ANY, solving.RESOLVE)
METHODS: dict[str, tuple[Method, tuple[str, ...]]] = {
    "xwin": (xwin.xwin, (xwin.VERIFIED, xwin.CREATED, *xwin._PRINCIPLES.values())),
    **{
        name: (partial(changes.change, name=name), (changes.CHANGE, task))
        for name, task in changes.TASKS.items()
    },
    "rephrase": (metamath.rephrase, (metamath.REPHRASE,)),
    "answer-augmentation": (metamath.answer_augmentation, ()),
    "self-verification": (metamath.self_verification, (metamath.STATEMENT,)),
    "fobar": (metamath.fobar, ()),
}
"""By name: the method, and the prompts that are its own."""


def method_named(name: str) -> tuple[Method, str]:
    """A method and the digest of all prompts that it can send.

    Raises:
        UsageError: there is none of this name.
    """
    found = METHODS.get(name)
    if found is None:
        known = ", ".join((*METHODS, REJECTION, PROCEDURAL))
        raise UsageError(f"no method `{name}`", f"--method is one of {known}")
    method, prompts = found
    return method, hashlib.sha256(json.dumps([*prompts, *_SOLVING]).encode()).hexdigest()
