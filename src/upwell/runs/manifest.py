"""What a manifest says, and whether a run may be resumed under it. Dicts in, dicts out."""

from __future__ import annotations

import json
import math
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from upwell.errors import UsageError
from upwell.runs.provenance import code_version, machine, package_versions
from upwell.runs.secrets import HIDDEN, is_secret_name, scrub_command, scrub_text
from upwell.runs.table import mend_text

FORMAT = 1
_CIRCUMSTANCES = ("code", "packages", "python", "machine")
_SHOWN = 60
"""Characters of a setting's value that a message shows."""


def new_manifest(
    *,
    verb: str,
    settings: Mapping[str, Any],
    fingerprint: Mapping[str, Any],
    amounts: Mapping[str, int | None],
    inputs: Sequence[Mapping[str, Any]],
    identity: Mapping[str, Any],
    command: Sequence[str] | None,
) -> dict[str, Any]:
    """The manifest of a run that starts now.

    `settings`, `inputs` and `identity` lose URL user info and query and known key formats; a setting named
    like a secret loses its value.
    """
    written = scrub_command(sys.argv if command is None else command)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    manifest = {
        "format": FORMAT,
        "verb": verb,
        "settings": {
            name: HIDDEN if value is not None and is_secret_name(name) else plain(value, scrub_text)
            for name, value in settings.items()
        },
        "fingerprint": plain(fingerprint, scrub_text),
        "amounts": dict(amounts),
        "inputs": plain(inputs, scrub_text),
        "command": plain(written),
        "code": code_version(),
        "packages": package_versions(),
        "python": platform.python_version(),
        "machine": machine(),
        "started": now,
        "sessions": [{"started": now, "command": plain(written)}],
    }
    taken = manifest.keys() & identity.keys()
    if taken:
        raise ValueError(f"identity may not set {sorted(taken)}")
    manifest |= plain(identity, scrub_text)
    return manifest


def resumed_manifest(run: Path, old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The old manifest with one more session, after checking that the new command may add to the run.

    `settings` and `amounts` become the new ones, so that the manifest says what the run is to hold. All
    else stays as it was when the run began; what is different now is recorded in the session. An amount
    that the new command does not have keeps its old value.

    Raises:
        UsageError: Another verb, another fingerprint or a smaller amount. A smaller amount is refused, not
            ignored, because rows are only ever added: the summary would be of more than was asked for.
    """
    if old["verb"] != new["verb"]:
        raise UsageError(
            f"`{run}` was made by `upwell {old['verb']}`, not `upwell {new['verb']}`", "choose another --out"
        )
    _check_fingerprint(run, old["fingerprint"], new["fingerprint"])
    _check_amounts(run, old["amounts"], new["amounts"])
    session = dict(new["sessions"][0])
    standing = {"settings", "fingerprint", "amounts", "command", "started", "sessions"}
    session |= {name: value for name, value in new.items() if name not in standing and value != old.get(name)}
    return old | {
        "settings": new["settings"],
        "amounts": old["amounts"] | new["amounts"],
        "sessions": [*old["sessions"], session],
    }


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest at this path.

    Raises:
        UsageError: It is missing, damaged, or of a newer format.
    """
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise UsageError(
            f"no run at `{path.parent}`: cannot read `{path}`: {error.strerror}",
            "give the directory that a run was written to, the --out of its command",
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(
            f"`{path}` is damaged: {error}", "put it back from a copy, or choose another --out and start anew"
        ) from None
    version = manifest.get("format")
    if version != FORMAT:
        raise UsageError(
            f"`{path}` has format {version!r}; this version of Upwell reads {FORMAT}",
            "pip install --upgrade upwell",
        )
    types = {"verb": str, "settings": dict, "fingerprint": dict, "amounts": dict, "sessions": list}
    for name, kind in types.items():
        if not isinstance(manifest.get(name), kind):
            raise UsageError(
                f"`{path}` is damaged: `{name}` is missing or not of its type",
                "put it back from a copy, or choose another --out and start anew",
            )
    return manifest


def encode_document(document: Mapping[str, Any]) -> bytes:
    """A manifest or summary as indented JSON.

    Raises:
        ValueError: A number in it is not finite; the message says which.
    """
    return (json.dumps(plain(document), ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def plain(value: Any, text: Callable[[str], str] = str) -> Any:
    """The value as JSON would give it back: dicts, lists, strings passed through `text`, finite numbers."""
    return _plain(msgspec.to_builtins(value, enc_hook=_builtin, str_keys=True), text, "")


def _builtin(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return value.item() if hasattr(value, "item") else str(value)  # numpy scalars; paths


def _plain(value: Any, text: Callable[[str], str], where: str) -> Any:
    if isinstance(value, str):
        return text(mend_text(value))
    if isinstance(value, Mapping):
        return {mend_text(name): _plain(part, text, f"{where}.{name}") for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part, text, f"{where}[{i}]") for i, part in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where.lstrip('.') or 'value'} is {value}, which JSON cannot hold")
    return value


def _check_fingerprint(run: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    was, now = _leaves(old), _leaves(new)
    changed = [name for name in {**was, **now} if was.get(name, _UNSET) != now.get(name, _UNSET)]
    if not changed:
        return
    differences = ", ".join(f"{name} {_show(was, name)} -> {_show(now, name)}" for name in changed)
    raise UsageError(
        f"cannot resume `{run}`: it was made with other settings: {differences}",
        "choose another --out, or go back to the old: "
        + ", ".join(f"{name} {_show(was, name)}" for name in changed),
    )


def _check_amounts(run: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    for name in (name for name in old if name in new):
        was, now = old[name], new[name]
        if now is None or (was is not None and now >= was):
            continue
        flag = "--" + name.replace("_", "-")
        raise UsageError(
            f"cannot lower {name} {'all' if was is None else was} -> {now} in `{run}`:"
            " rows are only ever added",
            (f"leave out {flag}" if was is None else f"{flag} {was} or more") + ", or choose another --out",
        )


_UNSET = object()


def _leaves(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or (not value and name):
        return {name: value}
    leaves: dict[str, Any] = {}
    for key, part in value.items():
        leaves |= _leaves(part, f"{name}.{key}" if name else key)
    return leaves


def _show(leaves: dict[str, Any], name: str) -> str:
    if name not in leaves:
        return "(not set)"
    value = leaves[name]
    shown = value if isinstance(value, str) and value.isprintable() and value else json.dumps(value)
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 3] + "..."
