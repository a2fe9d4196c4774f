"""The batch engine: requests gathered into files, files handed in, and what comes back matched to the requests."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from shlex import quote

import msgspec

from upwell.engines.base import NOT_NOW_SECONDS, Reply, Request, Usage
from upwell.engines.batch.api import Api, Batch, Refused
from upwell.engines.batch.job import Job, Row
from upwell.engines.batch.output import Response
from upwell.engines.batch.parts import Part, Parts, new_name
from upwell.engines.endpoint import Endpoint
from upwell.engines.server.calls import ONE_CALL, Item, reply_of
from upwell.engines.server.faults import Doomed, Refusal, judge_status, shown
from upwell.engines.server.wire import Malformed, base_name, body_of, parse, path_of, server_identity
from upwell.engines.settings import EngineSettings
from upwell.errors import EngineError

_MOST_PARTS = 4
"""Parts that are out at once; providers bound what an account may have queued."""
_MOST_FAULTS = 3
"""Times that a request may come back without an answer; each time may take a day."""
_ENDED = frozenset({"completed", "expired", "cancelled"})


class BatchEngine:
    """Draws through a provider's batch API. A batch goes on whether we live or not, and is never handed in twice.

    Args:
        endpoint: the provider.
        model: what it calls the model.
        settings: sizes of a batch file, how often to ask, how long to wait for a server that is gone.
        folder: where the files and their journal are kept: the same for the same run.
        say: told of batches handed in and of their progress.

    Raises:
        StorageError: the folder cannot be made.
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
        self._secret = endpoint.key
        self._settings = settings
        self._dialect = "openai" if settings.dialect == "auto" else settings.dialect
        self._say = say
        self._parts = Parts(folder, model)
        self._api = Api(endpoint, settings.request_timeout, settings.patience, settings.poll_seconds)

    def generate(self, requests: Iterable[Request | None]) -> Iterator[Reply]:
        """One reply per request, a batch at a time. One `generate` at a time.

        A reply counts as kept when the next one is asked for; only then is its part done with.

        Raises:
            EngineError: the provider refuses a file or us, or is gone for longer than patience lasts.
            StorageError: a file cannot be written.
            UsageError: the journal is damaged.
        """
        with contextlib.closing(self._parts.lock()):
            job = Job(self._parts, self._settings.batch_rows, int(self._settings.batch_mb * 1e6))
            source, dry = iter(requests), False
            while True:
                dry, made = self._fill(job, source, dry)
                if dry and not job.gathered and not job.awaited:
                    return
                busy = made
                for part in job.awaited:
                    self._go_on(job, part)
                    if part.state == "collected":
                        busy = True
                        job.held.clear()
                        yield from self._answers(job, part)
                if not busy:
                    time.sleep(self._settings.poll_seconds if job.awaited else NOT_NOW_SECONDS)

    def close(self) -> None:
        """Nothing to give back: batches go on by themselves."""

    def _fill(self, job: Job, source: Iterator[Request | None], dry: bool) -> tuple[bool, bool]:
        """Make the next part, if one may be out and there is enough for it.

        Returns whether the source has given all that it has, and whether a part was made.
        """
        nothing_now = False
        while not (dry or nothing_now or job.full):
            request = next(source, _NO_MORE)
            if isinstance(request, Request):
                self._take_in(job, request)
            else:
                dry, nothing_now = request is _NO_MORE, request is None
        ready = job.full or dry or (nothing_now and not job.awaited)
        made = ready and job.gathered and job.out < _MOST_PARTS
        if made:
            job.begin()
        return dry, made

    def _take_in(self, job: Job, request: Request, faults: int = 0, wasted: Usage | None = None) -> None:
        """Let it wait for the part that asks this already, or put it into the next."""
        body = body_of(request, self._model, dialect=self._dialect, logprobs=self._settings.logprobs)
        url = "/v1/" + path_of(request)
        # Of the body too: what is asked otherwise than before is another question. 128 bits.
        content = msgspec.json.encode([request.key, url, body])
        custom_id = hashlib.sha256(content).hexdigest()[:32]
        while job.knows(custom_id):
            custom_id = hashlib.sha256(custom_id.encode() + content).hexdigest()[:32]
        item = Item(request, 1)
        item.faults = faults
        item.wasted += wasted or Usage()
        if not job.claim(custom_id, item):
            line = {"custom_id": custom_id, "method": "POST", "url": url, "body": body}
            job.gather(Row(custom_id, item, url, msgspec.json.encode(line) + b"\n"))

    def _go_on(self, job: Job, part: Part) -> None:
        """Take a part as far as it goes now."""
        if part.number in job.held:
            return
        begun = self._parts.age(part) if part.number in job.begun_before else None
        if part.state == "written":
            self._upload(part, begun)
        if part.state == "uploaded":
            self._submit(job, part, begun)
        if part.state == "submitted":
            self._collect(job, part)

    def _upload(self, part: Part, begun: float | None) -> None:
        path, name = self._parts.input(part), f"{part.name}.jsonl"
        try:
            part.file_id = self._api.once(
                lambda: self._api.upload(path, name), lambda: self._api.find_file(name), begun=begun
            )
        except Refused as error:
            raise self._given_up(part, str(error)) from None
        part.state = "uploaded"
        self._parts.save(part)

    def _submit(self, job: Job, part: Part, begun: float | None) -> None:
        file_id = part.file_id
        assert file_id is not None
        try:
            part.batch_id = self._api.once(
                lambda: self._api.create(file_id, part.url, part.name),
                lambda: self._api.find_batch(part.name),
                begun=begun,
            )
        except Refused as error:
            raise self._given_up(part, str(error)) from None
        part.state = "submitted"
        self._parts.save(part)
        if job.out - len(job.held) == 1:
            job.alone.add(part.number)
        self._say(f"batch {part.number} handed in: {part.rows:,} requests as {shown(part.batch_id)}")

    def _given_up(self, part: Part, why: str) -> EngineError:
        """The end, for a part of which nothing was served: the next session asks the same in parts of its own."""
        self._parts.settle(part)
        return EngineError(
            why,
            "mend what it says, or make batches smaller (--batch-rows, --batch-mb), and run the same command again",
        )

    def _collect(self, job: Job, part: Part) -> None:
        """Ask how far it is; fetch what there is once it has ended."""
        assert part.batch_id is not None
        try:
            batch = self._api.batch(part.batch_id)
            if job.statuses.get(part.number) != batch.status:
                job.statuses[part.number] = batch.status
                self._say(f"batch {part.number}: {batch.progress}")
            if batch.status == "failed":
                self._put_off(job, part, batch)
            if batch.status not in _ENDED:
                return
            for file_id, target in (
                (batch.output_file_id, self._parts.output(part)),
                (batch.error_file_id, self._parts.errors(part)),
            ):
                if file_id is not None:
                    self._api.download(file_id, target, part.rows)
        except Refused as error:
            anew = (
                f"to have what it asked asked anew, and paid anew: rm {quote(str(self._parts.journal(part)))}"
            )
            raise EngineError(f"batch {part.number}: {error}", anew if error.gone else None) from None
        part.state = "collected"
        self._parts.save(part)

    def _put_off(self, job: Job, part: Part, batch: Batch) -> None:
        """A batch failed as a whole: there was no room for it yet, or there is something wrong with it.

        Raises:
            EngineError: something is wrong.
        """
        why, code = batch.failure
        if "limit" not in code or part.number in job.alone:
            raise self._given_up(part, f"batch {shown(batch.id)} failed: {why}")
        part.state, part.batch_id, part.name = "uploaded", None, new_name()
        self._parts.save(part)
        job.held.add(part.number)
        if len(job.held) == job.out:
            job.held.remove(min(job.held))  # that one alone
        self._say(f"batch {part.number} is handed in again when another has ended: {why}")

    def _answers(self, job: Job, part: Part) -> Iterator[Reply]:
        """The replies in a part's output; what has none is asked again in the next part."""
        output, first = job.output(part)
        for what, count in output.oddities.items() if first else ():
            self._say(f"batch {part.number}: {count:,} lines of its output {what}")
        doomed: Doomed | None = None
        for custom_id, item in job.waiting(part).items():
            line = output.line(custom_id)
            if line is None or line.response is None:
                continue
            said = self._said(item, line.response, old=part.number in job.collected_before)
            if isinstance(said, Reply):
                yield said
                job.done(part, custom_id)
            doomed = said if isinstance(said, Doomed) else doomed
        if doomed is not None:
            raise EngineError(doomed.message, doomed.hint)
        for custom_id, item in job.waiting(part).items():
            item.faults += 1
            if item.faults >= _MOST_FAULTS:
                why = f"came back without an answer {item.faults} times"
                yield Reply(key=item.request.key, error=why, wasted=item.wasted)
                job.done(part, custom_id)
            else:
                job.done(part, custom_id)
                self._take_in(job, item.request, item.faults, item.wasted)
        job.settle_if_over(part)

    def _said(self, item: Item, response: Response, *, old: bool) -> Reply | Doomed | None:
        """What a line of output says; None where the request is to be asked again.

        An error that an earlier session collected (`old`) was told then. Asked for once more, the request is
        worth another try, and errors are not charged.
        """
        if not response.status_code or (old and response.status_code != 200):
            return None
        payload = bytes(response.body)
        if response.status_code == 200:
            try:
                answer = parse(payload)
            except Malformed as error:
                item.wasted += error.usage
                return None
            return reply_of(item, answer.choices[0], answer.usage, seeded=True)
        judged = judge_status(response.status_code, {}, payload, secret=self._secret)
        if isinstance(judged, Doomed):
            return judged
        item.wasted += ONE_CALL
        if isinstance(judged, Refusal):
            return Reply(key=item.request.key, error=judged.message, wasted=item.wasted)
        return None


_NO_MORE = object()


def batch_identity(model: str, settings: EngineSettings) -> str:
    """What produces the replies; no address, as for a server."""
    return f"batch of {server_identity(base_name(model), settings)}"
