"""Where an OpenAI-compatible server is, what it calls the model, and the key to it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from upwell.errors import UsageError
from upwell.runs import scrub_url

_EXAMPLE = "server:http://127.0.0.1:8000/v1#NAME"


@dataclass(frozen=True)
class Endpoint:
    """One base URL of a server, such as `http://127.0.0.1:8000/v1`, and the key that opens it.

    The URL may hold user info and a query, and the key is a secret: show `shown` instead.
    """

    url: str = field(repr=False)
    key: str | None = field(default=None, repr=False)

    @property
    def shown(self) -> str:
        """The URL without user info and query: what may be written down."""
        return scrub_url(self.url)

    @property
    def local(self) -> bool:
        """Whether it is on this machine."""
        host = urlsplit(self.url).hostname or ""
        return host in ("localhost", "::1") or host.startswith("127.")

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled without its key: a worker gets that by a way of its own."""
        return Endpoint, (self.url,)

    def at(self, path: str) -> str:
        """The URL of a path under the base, such as `chat/completions`; a query of the base stays."""
        parts = urlsplit(self.url)
        return parts._replace(path=f"{parts.path.rstrip('/')}/{path}").geturl()


def parse_endpoints(text: str, key_env: str | None) -> tuple[tuple[Endpoint, ...], str]:
    """The endpoints and the model's name in `URL[,URL...]#NAME`.

    A URL without a path gets `/v1`, where such servers have their interface.

    Args:
        text: what follows `server:` or `batch:`.
        key_env: the environment variable that holds the key, if there is one.

    Raises:
        UsageError: a URL or the name is missing or malformed, or the variable is not set.
    """
    urls, hash_, name = text.rpartition("#")
    if not (hash_ and name.strip() and urls.strip()):
        raise UsageError(f"`{scrub_url(text)}` does not say URL#NAME", f"--model {_EXAMPLE}")
    key = None
    if key_env is not None:
        key = os.environ.get(key_env, "").strip()
        if not key:
            raise UsageError(f"the environment variable {key_env} is not set", f"export {key_env}=...")
    endpoints = tuple(Endpoint(_checked(url.strip()), key) for url in urls.split(","))
    if len({endpoint.url for endpoint in endpoints}) != len(endpoints):
        raise UsageError("the same URL stands twice in --model", "name each server once")
    return endpoints, name.strip()


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        good = False
    if not good:
        raise UsageError(f"`{scrub_url(url)}` is no http or https URL", f"--model {_EXAMPLE}")
    return url if parts.path.strip("/") else parts._replace(path="/v1").geturl()
