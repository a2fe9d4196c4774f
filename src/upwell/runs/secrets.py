"""What may be written into a run directory: nothing that opens a door elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence

HIDDEN = "***"

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*://)([^\s\"'<>]+)")
_SERVED = re.compile(r"((?:--[a-z-]+=)?(?:server|batch):)(https?://\S*)#([A-Za-z0-9._:@/+-]{1,200})")
# The second form is a password with an unescaped `/`, `?` or `#`: text after the colon that is not a port.
_USER_INFO = re.compile(r"[^/?#]*@|[^/?#@:\[]*:(?!\d*(?:[/?#]|$)).*@")
_SECRET_NAME = re.compile(
    r"(?:^|_)(?:key|apikey|token|password|passwd|secret|auth|authorization|bearer|credentials?|cookie|headers?)$"
)
_TOKENIZER_NAME = re.compile(r"(?:^|_)(?:eos|bos|pad|unk|sep|stop|special)_token$")
_ASSIGNMENT = re.compile(r"([A-Z][A-Z0-9_]*)=(.+)", re.DOTALL)
_KNOWN_KEY = re.compile(r"\b(?:sk-|hf_|gh[pousr]_|xox[abp]-|AIza)[A-Za-z0-9_\-]{16,}")


def scrub_url(url: str) -> str:
    """The text with every URL in it cut to scheme, host, port and path: no user info, query or fragment.

    Of a served model, `server:URL[,URL...]#NAME`, each URL is cut and the name stays.
    """
    if served := _SERVED.fullmatch(url):
        urls = [scrub_url(one) for one in served[2].split(",")]
        return f"{served[1]}{','.join(urls)}#{served[3]}"
    return _URL.sub(lambda match: match[1] + _host_and_path(match[2]), url)


def scrub_command(argv: Sequence[str]) -> list[str]:
    """A command line fit to be written down: values of flags named like `--api-key`, assignments like
    `HF_TOKEN=...`, well-known key formats and URL user info and query are hidden; paths stay as typed."""
    scrubbed: list[str] = []
    hide_next = False
    for argument in argv:
        if hide_next and not argument.startswith("--"):
            scrubbed.append(HIDDEN)
            hide_next = False
            continue
        flag, equals, _ = argument.partition("=")
        hide_next = argument.startswith("-") and is_secret_name(flag) and not equals
        scrubbed.append(_scrub_argument(argument, flag, equals))
    return scrubbed


def is_secret_name(name: str) -> bool:
    """Whether a flag or setting of this name holds a secret itself (`api_key`), rather than the name of an
    environment variable that does (`api_key_env`) or a tokenizer's token (`eos_token`)."""
    folded = name.lstrip("-").replace("-", "_").lower()
    return bool(_SECRET_NAME.search(folded)) and not _TOKENIZER_NAME.search(folded)


def scrub_text(text: str) -> str:
    """Free text without URL secrets and without keys of well-known form."""
    return _KNOWN_KEY.sub(HIDDEN, scrub_url(text) if "://" in text else text)


def _scrub_argument(argument: str, flag: str, equals: str) -> str:
    if equals and argument.startswith("-") and is_secret_name(flag):
        return f"{flag}={HIDDEN}"
    assignment = _ASSIGNMENT.fullmatch(argument)
    if assignment and is_secret_name(assignment[1]):
        return f"{assignment[1]}={HIDDEN}"
    return scrub_text(argument)


def _host_and_path(rest: str) -> str:
    user = _USER_INFO.match(rest)
    kept = rest[user.end() :] if user else rest
    return re.split(r"[?#]", kept, maxsplit=1)[0]
