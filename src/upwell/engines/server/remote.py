"""One endpoint as the engine sees it: what it is, whether it is there, how much it is given."""

from __future__ import annotations

import random
from collections.abc import Mapping

import msgspec

from upwell.engines.endpoint import Endpoint
from upwell.engines.server.faults import Doomed, wait_of
from upwell.engines.server.pacing import Pace, Ticket
from upwell.engines.server.transport import Address
from upwell.engines.server.wire import base_name
from upwell.errors import UsageError

FAULTS_IN_A_ROW = 8
"""After so many without one answer between, an endpoint counts as down: it is probed, no longer fed."""
_FIRST_PROBE, _LONGEST_PROBE = 0.25, 15.0
"""Seconds before a probe of an endpoint that is down; doubled each time it is still."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 10.0
"""Seconds of quiet after a server said that it is too much without saying for how long; doubled while it repeats it."""
_CALLS_LEFT, _TOKENS_LEFT = "x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens"
_OWNERS = ("vllm", "sglang", "llamacpp")


class Remote:
    """An endpoint's state, kept from one `generate` to the next. Seconds are those of the event loop's clock.

    Args:
        endpoint: where it is.
        model: what the user calls the model.
        dialect: as set; `auto` is replaced by what the server says of itself.
        pace: how many calls it gets.
        choices: responses to ask for in one call at most.
    """

    def __init__(self, endpoint: Endpoint, model: str, dialect: str, pace: Pace, choices: int) -> None:
        self.endpoint = endpoint
        self.model = model
        self.dialect = dialect
        self.pace = pace
        self.choices = choices
        self.known = False
        """Whether it has been asked what it serves."""
        self.doomed: Doomed | None = None
        """Why it gets no call any more."""
        self.down_since: float | None = None
        self.trouble = ""
        """What went wrong last."""
        self.probe: Ticket | None = None
        """The one call that is out to see whether it is back."""
        self._away = False
        self._faults = 0
        self._refused = 0
        self._free_at = 0.0
        self._probe_pause = _FIRST_PROBE
        self.models = Address(endpoint, "models")
        self._addresses = {path: Address(endpoint, path) for path in ("completions", "chat/completions")}

    def address(self, path: str) -> Address:
        return self._addresses[path]

    def free(self, now: float) -> int:
        """Calls that it may be given now."""
        if self.doomed is not None or not self.known or now < self._free_at:
            return 0
        if self.down_since is not None:
            return 0 if self.probe is not None else 1
        return self.pace.limit - self.pace.in_flight

    @property
    def absent(self) -> bool:
        """Whether there is nobody to call."""
        return self.doomed is not None or not self.known or self.down_since is not None

    def quiet_for(self, now: float) -> float | None:
        """Seconds until it may be asked again; None where that does not depend on time."""
        if self.doomed is not None or not self.known or now >= self._free_at:
            return None
        return self._free_at - now

    def reset(self) -> None:
        """Begin anew with what was learned: no call is out any more."""
        self.down_since = self.probe = None
        self._faults = self._refused = 0
        self._free_at = 0.0
        self._probe_pause = _FIRST_PROBE

    def answered(self, now: float) -> bool:
        """It gave an answer, be it a refusal. Returns whether it was down before."""
        was_down = self.down_since is not None
        if self._away:
            self.pace.restart(now)
        self._away = False
        self.down_since = self.probe = None
        self._faults = self._refused = 0
        self._probe_pause = _FIRST_PROBE
        return was_down

    def faulted(self, why: str, now: float, *, probe: bool, unreachable: bool) -> bool:
        """It gave none. Returns whether it counts as down from now on.

        Args:
            why: what went wrong.
            now: the time.
            probe: whether the call was there to see whether it is back.
            unreachable: whether there was nobody at all.
        """
        self.trouble = why
        self._faults += 1
        self._away = self._away or unreachable
        if self.down_since is not None:
            if probe:
                self._later(now)
            return False
        if not unreachable and self._faults < FAULTS_IN_A_ROW:
            return False
        self.down_since = now
        self._later(now)
        return True

    def heed(self, headers: Mapping[str, str], now: float) -> None:
        """Look at an answer's rate-limit headers: after the last call that is allowed, leave it alone."""
        if "0" in (headers.get(_CALLS_LEFT), headers.get(_TOKENS_LEFT)):
            self.leave_alone(wait_of(headers) or 0.0, now)

    def too_much(self, wait: float, now: float) -> None:
        """It asks to be left alone, for `wait` seconds or (0) for a while."""
        self._refused += 1
        pause = min(_FIRST_PAUSE * 2 ** min(self._refused, 20), _LONGEST_PAUSE) * random.uniform(0.5, 1)
        self.leave_alone(wait or pause, now)

    def leave_alone(self, seconds: float, now: float) -> None:
        self._free_at = max(self._free_at, now + seconds)

    def _later(self, now: float) -> None:
        self.leave_alone(self._probe_pause * random.uniform(0.75, 1.25), now)
        self._probe_pause = min(2 * self._probe_pause, _LONGEST_PROBE)

    def introduce(self, listing: bytes | None) -> None:
        """Take in its list of models, or that it has none.

        Raises:
            UsageError: it has one, and our model is not on it.
        """
        self.known = True
        entries = _entries(listing)
        if self.dialect == "auto":
            owners = {entry.owned_by for entry in entries}
            self.dialect = next((owner for owner in _OWNERS if owner in owners), "openai")
        names = [entry.id for entry in entries]
        if not names or self.model in names:
            return
        same = [name for name in names if base_name(name) == base_name(self.model)]
        if same:
            self.model = same[0]
        elif "*" not in names and self.model.split(":")[0] not in names:  # providers' variants are not listed
            shown = ", ".join(f"`{base_name(name)[:80]}`" for name in names[:8]) + (
                ", ..." if names[8:] else ""
            )
            raise UsageError(
                f"{self.endpoint.shown} serves no `{base_name(self.model)}`, but {shown}",
                f"--model server:{self.endpoint.shown}#{base_name(names[0])[:80]}",
            )


class _Entry(msgspec.Struct):
    id: str
    owned_by: str | None = None


class _Listing(msgspec.Struct):
    data: list[_Entry] = []


_listing = msgspec.json.Decoder(_Listing)


def _entries(listing: bytes | None) -> list[_Entry]:
    """What a list of models says; nothing if it is no such list."""
    try:
        return _listing.decode(listing).data if listing else []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
