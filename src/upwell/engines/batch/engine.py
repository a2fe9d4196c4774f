"""The batch engine: requests gathered into files, files handed in, and what comes back matched to the requests."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from upwell.engines.base import Reply, Request, Usage
from upwell.engines.batch.api import Api, Batch
from upwell.engines.batch.parts import Part, Parts
from upwell.engines.endpoint import Endpoint
from upwell.engines.server.calls import Item, reply_of
from upwell.engines.server.faults import Doomed, Refusal, judge_status, shown
from upwell.engines.server.wire import Malformed, base_name, body_of, parse, path_of, server_identity
from upwell.engines.settings import EngineSettings
from upwell.errors import EngineError

_MOST_PARTS = 4
"""Parts that are out at once; providers bound what an account may have queued."""
_MOST_FAULTS = 3
"""Times that a request may come back without an answer; each time may take a day."""
_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})


class _Response(msgspec.Struct):
    status_code: int
    body: msgspec.Raw = msgspec.Raw(b"null")


class _Line(msgspec.Struct):
    custom_id: str
    response: _Response | None = None
    error: Any = None


_line = msgspec.json.Decoder(_Line)


class BatchEngine:
    """Draws through a provider's batch API. A batch goes on whether we live or not, and is never handed in twice.

    Args:
        endpoint: the provider.
        model: what it calls the model.
        settings: sizes of a batch file, how often to ask, how long to wait for a server that is gone.
        folder: where the files and their journal are kept: the same for the same run.
        say: told of batches handed in and of their progress.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        model: str,
        *,
        settings: EngineSettings,
        folder: Path,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.identity = batch_identity(model, settings)
        self._model = model
        self._settings = settings
        self._dialect = "openai" if settings.dialect == "auto" else settings.dialect
        self._say = say
        self._parts = Parts(folder)
        self._api = Api(endpoint, settings.request_timeout, settings.patience)

    def generate(self, requests: Iterable[Request | None]) -> Iterator[Reply]:
        """One reply per request, a batch at a time.

        Raises:
            EngineError: the provider refuses a file or us, or is gone for longer than patience lasts.
            StorageError: a file cannot be written.
        """
        job = _Job(self._parts)
        source, dry = iter(requests), False
        room = min(self._settings.batch_rows * _MOST_PARTS, 10**7)
        while True:
            waiting = False
            while not dry and not waiting and len(job.items) < room and not self._full(job):
                request = next(source, _NO_MORE)
                if request is None:
                    waiting = True
                elif isinstance(request, Request):
                    self._take_in(job, request)
                else:
                    dry = True
            if job.filled and (self._full(job) or dry or (waiting and not job.out)):
                self._hand_in(job)
                continue
            if dry and not job.items:
                for part in job.open.values():
                    self._parts.settle(part)  # what it asked is answered, here or in an earlier session
                return
            ended = self._ended(job)
            for part in ended:
                yield from self._answers(job, part)
            if not ended:
                time.sleep(self._settings.poll_seconds if job.out and not waiting else _NOT_NOW_SECONDS)

    def close(self) -> None:
        """Nothing to give back: batches go on by themselves."""

    def _full(self, job: _Job) -> bool:
        """Whether what was gathered makes a file. The last row may pass the limit by its own size."""
        return job.filled >= self._settings.batch_rows or job.size >= self._settings.batch_mb * 1e6

    def _take_in(self, job: _Job, request: Request, faults: int = 0, wasted: Usage | None = None) -> None:
        """Wait for the part that asks this already, or put it into the next."""
        body = body_of(request, self._model, dialect=self._dialect, logprobs=self._settings.logprobs)
        url = "/v1/" + path_of(request)
        custom_id = hashlib.sha256(msgspec.json.encode([request.key, url, body])).hexdigest()[:40]
        item = Item(request, 1)
        item.faults = faults
        item.wasted += wasted or Usage()
        job.items[custom_id] = item
        if faults or custom_id not in job.asked:
            line = {"custom_id": custom_id, "method": "POST", "url": url, "body": body}
            job.fill(custom_id, url, msgspec.json.encode(line) + b"\n")

    def _hand_in(self, job: _Job) -> None:
        for url, lines in job.emptied():
            part = self._parts.new(url, [line for _, line in lines])
            job.begun(part, [custom_id for custom_id, _ in lines])

    def _ended(self, job: _Job) -> list[Part]:
        """Take every part one step on. Returns those whose output is here."""
        ended = []
        for part in job.open.values():
            if part.state == "written":
                self._upload(part, sought=part.number in job.inherited)
            if part.state == "uploaded":
                self._submit(part, sought=part.number in job.inherited)
            if part.state == "submitted":
                self._collect(job, part)
            if part.state == "collected":
                ended.append(part)
        return ended

    def _upload(self, part: Part, *, sought: bool) -> None:
        path, name = self._parts.input(part), f"{part.name}.jsonl"
        part.file_id = self._api.once(
            lambda: self._api.upload(path, name), lambda: self._api.find_file(name), sought=sought
        )
        part.state = "uploaded"
        self._parts.save(part)

    def _submit(self, part: Part, *, sought: bool) -> None:
        file_id = part.file_id
        assert file_id is not None
        batch = self._api.once(
            lambda: self._api.create(file_id, part.url, part.name),
            lambda: self._api.find_batch(part.name),
            sought=sought,
        )
        part.batch_id, part.state = batch.id, "submitted"
        self._parts.save(part)
        self._say(f"batch {part.number} handed in: {part.rows:,} requests as {batch.id}")

    def _collect(self, job: _Job, part: Part) -> None:
        """Ask how far it is; fetch what there is once it has ended."""
        assert part.batch_id is not None
        batch = self._api.batch(part.batch_id)
        if job.statuses.get(part.number) != batch.status:
            job.statuses[part.number] = batch.status
            self._say(f"batch {part.number}: {batch.status}{_progress(batch)}")
        if batch.status not in _ENDED:
            return
        if batch.status == "failed":
            self._parts.settle(part)  # nothing of it was served: it is handed in anew
            raise EngineError(
                f"batch {batch.id} failed: {_first_error(batch)}",
                "mend what it says, or make batches smaller (--batch-rows), and run the same command again",
            )
        for file_id, target in (
            (batch.output_file_id, self._parts.output(part)),
            (batch.error_file_id, self._parts.errors(part)),
        ):
            if file_id:
                self._api.download(file_id, target)
        part.state = "collected"
        self._parts.save(part)

    def _answers(self, job: _Job, part: Part) -> Iterator[Reply]:
        """The replies in a part's output; what has none is asked again in the next part."""
        strange: Counter[str] = Counter()
        for line in self._lines(part):
            try:
                found = _line.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                strange["cannot be read"] += 1
                continue
            if job.asked.get(found.custom_id) != part.number:
                strange["answer nothing that was asked"] += found.custom_id not in job.ours(part)
                continue
            item = job.items.get(found.custom_id)
            if item is None:
                continue  # answered in an earlier session, or a second time here
            reply = self._reply(item, found)
            if isinstance(reply, Reply):
                # The row is written when the generator goes on; until then the part is not settled.
                yield reply
                job.answered(found.custom_id)
        for what, count in strange.items():
            if count:
                self._say(f"batch {part.number}: {count:,} lines of its output {what}")
        for custom_id in job.unanswered(part):
            item = job.items.pop(custom_id)
            item.faults += 1
            if item.faults >= _MOST_FAULTS:
                why = f"came back without an answer {item.faults} times"
                yield Reply(key=item.request.key, error=why, wasted=item.wasted)
            else:
                self._take_in(job, item.request, item.faults, item.wasted)
        if job.filled:
            self._hand_in(job)  # before the part is settled, or a kill would forget the faults
        self._parts.settle(part)
        job.over(part)

    def _lines(self, part: Part) -> Iterator[bytes]:
        for path in (self._parts.output(part), self._parts.errors(part)):
            if path.exists():
                with path.open("rb") as file:
                    for line in file:
                        if line.strip():
                            yield line

    def _reply(self, item: Item, line: _Line) -> Reply | None:
        """What a line of output says; None where the request is to be asked again."""
        response = line.response
        if response is None or not response.status_code:
            return None  # expired or broken before it was served
        payload = bytes(response.body)
        if response.status_code == 200:
            try:
                answer = parse(payload)
            except Malformed as error:
                item.wasted += error.usage
                return None
            return reply_of(item, answer.choices[0], answer.usage, seeded=True)
        judged = judge_status(response.status_code, {}, payload)
        item.wasted += Usage(calls=1)
        if isinstance(judged, Doomed):
            raise EngineError(judged.message, judged.hint)
        if isinstance(judged, Refusal):
            return Reply(key=item.request.key, error=judged.message, wasted=item.wasted)
        return None


_NO_MORE = object()
_NOT_NOW_SECONDS = 0.02


class _Job:
    """The requests of one `generate` and the parts that they are in."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.items: dict[str, Item] = {}
        """Requests without a reply, by custom id."""
        self.open = {part.number: part for part in parts.unsettled()}
        self.inherited = set(self.open)
        """Parts that an earlier session has begun: their last step may have been taken unrecorded."""
        self.asked: dict[str, int] = {}
        """The part in which a custom id was asked last."""
        for part in self.open.values():
            self.asked |= dict.fromkeys(parts.asked(part), part.number)
        self.statuses: dict[int, str] = {}
        self.size = 0
        self._filling: dict[str, list[tuple[str, bytes]]] = {}

    @property
    def filled(self) -> int:
        """Requests that are in no part yet."""
        return sum(map(len, self._filling.values()))

    @property
    def out(self) -> bool:
        return bool(self.open)

    def fill(self, custom_id: str, url: str, line: bytes) -> None:
        self._filling.setdefault(url, []).append((custom_id, line))
        self.size += len(line)

    def emptied(self) -> list[tuple[str, list[tuple[str, bytes]]]]:
        """All that was gathered, by the path that it is for."""
        filling, self._filling, self.size = self._filling, {}, 0
        return list(filling.items())

    def begun(self, part: Part, custom_ids: list[str]) -> None:
        self.open[part.number] = part
        self.asked |= dict.fromkeys(custom_ids, part.number)

    def ours(self, part: Part) -> set[str]:
        return set(self._parts.asked(part))

    def answered(self, custom_id: str) -> None:
        del self.items[custom_id]

    def unanswered(self, part: Part) -> list[str]:
        return [custom_id for custom_id in self.items if self.asked.get(custom_id) == part.number]

    def over(self, part: Part) -> None:
        del self.open[part.number]
        self.asked = {custom_id: number for custom_id, number in self.asked.items() if number != part.number}


def batch_identity(model: str, settings: EngineSettings) -> str:
    """What produces the replies; no address, as for a server."""
    return f"batch of {server_identity(base_name(model), settings)}"


def _progress(batch: Batch) -> str:
    counts = batch.request_counts or {}
    done, failed = counts.get("completed", 0), counts.get("failed", 0)
    return f", {done:,} of {counts['total']:,} done, {failed:,} failed" if counts.get("total") else ""


def _first_error(batch: Batch) -> str:
    errors = (batch.errors or {}).get("data")
    first = errors[0] if isinstance(errors, list) and errors else {}
    said = first.get("message") if isinstance(first, dict) else None
    return shown(str(said or "it does not say why"))
