"""Settings as flags: in the help a verb's own come first, then those of a judge, then those of any model."""

from __future__ import annotations

from typing import Annotated, get_type_hints

from cyclopts import Group, Parameter

from upwell.engines.settings import EngineSettings
from upwell.measurement.settings import JudgeSettings

Flags = Parameter(name="*")


def under(title: str, place: int, settings: type) -> None:
    """Show what a class of settings declares under a title, wherever the class is inherited from.

    Cyclopts takes groups from annotations only, and settings know nothing of cyclopts, so they are put there here.
    """
    shown = Parameter(group=Group(title, sort_key=place))
    hints = get_type_hints(settings)
    for name in settings.__annotations__:
        settings.__annotations__[name] = Annotated[hints[name], shown]


under("Judge", 1, JudgeSettings)
under("Model: how it is run, reached and paid for", 2, EngineSettings)
