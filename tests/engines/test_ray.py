"""A real Ray on this machine: replicas die by kill -9, and every request still gets one reply."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from upwell.engines.base import Reply, Request, Sampling
from upwell.engines.ray import RayEngine
from upwell.engines.ray.dealing import Job, Worker
from upwell.engines.scripted import ScriptedEngine
from upwell.errors import BudgetSpent, EngineError, UsageError

# Ray leaves the pipes and sockets of its own processes to the collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


def bare(number: int) -> Worker:
    """A replica that is up, without a process."""

    class Nothing:
        def __getattr__(self, name: str) -> Nothing:
            return self

        def remote(self, *_: object) -> None:
            """Called, and does nothing."""

    worker = Worker(Nothing(), number)
    worker.ready = True
    return worker


def requests(count: int, pause: str = "") -> Iterator[Request]:
    for number in range(count):
        yield Request(
            key=f"{number}{pause}",
            prompt=f"p{number // 8}",
            add_special_tokens=False,
            seed=number,
            sampling=Sampling(),
        )


def pausing() -> ScriptedEngine:
    def speak(request: Request) -> str:
        if request.key == "poison":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.003)
        return f"{request.key} by {os.getpid()}"

    return ScriptedEngine(speak)


def keyed() -> ScriptedEngine:
    """Says what its environment holds, as an engine that needs a key does."""
    return ScriptedEngine(lambda request: os.environ.get("THE_KEY", "none"))


def unbuildable() -> ScriptedEngine:
    raise UsageError("no such model", "name another")


def forgetful() -> ScriptedEngine:
    class Forgetful(ScriptedEngine):
        def generate(self, source: object) -> Iterator[Reply]:
            return iter(())

    return Forgetful(lambda request: "")


def one_lives(taken: str) -> ScriptedEngine:
    """The first is long in loading; the others die at once."""
    try:
        Path(taken).touch(exist_ok=False)
    except FileExistsError:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(12)
    return pausing()


def spent() -> ScriptedEngine:
    class Spent(ScriptedEngine):
        def generate(self, source: object) -> Iterator[Reply]:
            raise BudgetSpent("all is spent", "raise the cap")

    return Spent(lambda request: "")


@pytest.fixture(scope="module", autouse=True)
def one_ray() -> Iterator[None]:
    """One Ray for the module: starting one takes seconds. Its workers must find this module."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), before]))
    first = RayEngine(pausing, identity="first", address="local", cpus=0.01)
    import ray

    yield
    first.close()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before
    assert not ray.is_initialized(), "what we started we end"


def engine(make: object, replicas: int, **changes: object) -> RayEngine:
    return RayEngine(make, identity="i", address="local", replicas=replicas, cpus=0.5, **changes)  # type: ignore[arg-type]


def keys(replies: list[Reply]) -> list[str]:
    return sorted(reply.key for reply in replies)


def test_replicas_share_the_work_and_prompts_stay_together() -> None:
    subject = engine(pausing, 2, ahead=16)
    late = time.monotonic() + 120
    while len(subject.process_ids) < 2:  # the first could be done with all before the second is up
        assert len(list(subject.generate(requests(8)))) == 8 and time.monotonic() < late
    replies = list(subject.generate(requests(256)))
    subject.close()
    assert keys(replies) == keys([Reply(key=r.key) for r in requests(256)])
    by = {reply.key: reply.text.split()[-1] for reply in replies}
    assert len(set(by.values())) == 2
    together = sum(len({by[str(8 * p + i)] for i in range(8)}) == 1 for p in range(32))
    assert together >= 24, "most prompts are drawn by one replica alone"


def test_one_of_three_is_killed_in_mid_run(capfd: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    subject = engine(pausing, 3, ahead=32, say=said.append)
    replies = []
    for number, reply in enumerate(subject.generate(requests(900))):
        replies.append(reply)
        if number in (100, 400):
            os.kill(subject.process_ids[0], signal.SIGKILL)
    subject.close()
    assert keys(replies) == keys([Reply(key=r.key) for r in requests(900)])
    assert not any(reply.error for reply in replies)
    assert len([line for line in said if "is gone" in line]) == 2
    late, out, errors = time.monotonic() + 30, "", ""
    while errors.count("\n") < 2 and time.monotonic() < late:  # Ray's own words come when they come
        more, told = capfd.readouterr()
        out, errors = out + more, errors + told
        time.sleep(0.05)
    assert out == "" and all(len(line) < 120 for line in errors.splitlines())
    assert errors.count("ray: A worker died or was killed") == 2


def test_a_request_that_kills_its_replica_is_set_aside_and_the_innocent_are_answered() -> None:
    subject = engine(pausing, 2, ahead=8)
    asked = list(requests(40))
    poison = Request(key="poison", prompt="p1", add_special_tokens=False, seed=0, sampling=Sampling())
    asked.insert(13, poison)
    replies = list(subject.generate(asked))
    subject.close()
    assert keys(replies) == keys([Reply(key=r.key) for r in asked])
    wrong = {reply.key: reply.error for reply in replies if reply.error}
    assert wrong == {"poison": "set aside: 3 replicas died while they worked on it"}


@pytest.mark.parametrize("replicas", [1, 2, 8])
def test_of_many_held_with_a_killer_few_are_run_alone(replicas: int) -> None:
    """Two of 4,000 kill; a replica holds 256 and answers them at once, if it lives."""
    asked, killers = list(requests(4000)), {"700", "701"}
    job, workers = Job(iter(asked), 256), [bare(number) for number in range(replicas)]
    replies: list[Reply] = []
    deaths = alone = 0
    while True:
        job.fill(workers)
        if job.over(workers):
            break
        for at, worker in enumerate(workers):
            worker.fresh.clear()  # sent
            alone += worker.alone
            if killers & worker.held.keys():
                deaths += 1
                replies += job.requeue(worker)
                workers[at] = bare(at)
            else:
                replies += job.answered(worker, [Reply(key=key, text="yes") for key in worker.held])
    assert keys(replies) == keys([Reply(key=r.key) for r in asked])
    assert {reply.key for reply in replies if reply.error} == killers
    assert deaths <= 6 and alone <= 40


def test_what_was_not_sent_has_no_part_in_a_death() -> None:
    job, worker = Job(requests(8), 8), bare(0)
    for _ in range(5):
        job.fill([worker])
        assert job.requeue(worker) == [] and len(worker.fresh) == 8
        worker = bare(0)
    job.fill([worker])
    assert [request.key for request in worker.fresh] == [request.key for request in requests(8)]


def test_what_has_come_is_given_out_before_an_error_of_the_source_is_raised() -> None:
    """One request is out and one is pulled ahead of it, so the source breaks with an answer in hand."""

    def breaking() -> Iterator[Request]:
        yield from requests(3)
        raise OSError("the source broke")

    subject = engine(pausing, 1, ahead=1)
    replies = []
    with pytest.raises(OSError, match="the source broke"):
        for reply in subject.generate(breaking()):
            replies.append(reply)
    assert keys(replies) == ["0", "1"]
    assert len(list(subject.generate(requests(4)))) == 4
    subject.close()


def test_an_engine_that_leaves_off_ends_the_run() -> None:
    subject = engine(forgetful, 1)
    with pytest.raises(EngineError, match="left off"):
        list(subject.generate(requests(4)))
    subject.close()


def test_a_replica_that_cannot_live_does_not_end_the_run_of_others(tmp_path: Path) -> None:
    subject = engine(partial(one_lives, str(tmp_path / "taken")), 2, ahead=8)
    replies = list(subject.generate(requests(40)))
    subject.close()
    assert keys(replies) == keys([Reply(key=r.key) for r in requests(40)])


def test_what_cannot_be_built_says_why() -> None:
    subject = engine(unbuildable, 2)
    for _ in range(2):  # and again, to whoever asks again
        with pytest.raises(UsageError, match="no such model") as caught:
            list(subject.generate(requests(4)))
        assert caught.value.hint == "name another"
    subject.close()


def test_an_error_of_the_engine_keeps_its_kind() -> None:
    subject = engine(spent, 1)
    with pytest.raises(BudgetSpent, match="all is spent"):
        list(subject.generate(requests(4)))
    subject.close()


def test_replicas_that_all_die_end_the_run() -> None:
    def dying() -> ScriptedEngine:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    subject = engine(dying, 1)
    with pytest.raises(EngineError, match="replicas died one after the other") as caught:
        list(subject.generate(requests(4)))
    assert caught.value.hint and "same command" in caught.value.hint
    subject.close()


def test_a_key_reaches_the_worker_as_an_argument() -> None:
    subject = engine(keyed, 1, secrets={"THE_KEY": "s3cret"})
    assert [reply.text for reply in subject.generate(requests(1))] == ["s3cret"]
    subject.close()
    assert "THE_KEY" not in os.environ


def test_more_replicas_than_there_is_room_for_start_when_there_is() -> None:
    said: list[str] = []
    subject = RayEngine(
        pausing, identity="i", address="local", replicas=50, cpus=0.5, ahead=8, say=said.append
    )
    assert len(list(subject.generate(requests(40)))) == 40
    subject.close()


def test_no_cluster_at_an_address() -> None:
    import ray

    code = (
        "from upwell.engines.ray import RayEngine; from upwell.errors import UsageError\n"
        "try: RayEngine(dict, identity='i', address='127.0.0.1:1')\n"
        "except UsageError as error: print(error)\n"
    )
    assert ray.is_initialized()  # so another process asks
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "no Ray cluster at `127.0.0.1:1`" in found.stdout and "hint: --ray local" in found.stdout


DRIVER = """
import json, sys, time
from pathlib import Path
from upwell.engines.base import Request, Sampling
from upwell.engines.ray import RayEngine
from upwell.engines.scripted import ScriptedEngine

def make():
    import time
    def speak(request):
        time.sleep(0.01)
        return request.key
    return ScriptedEngine(speak)

out = Path(sys.argv[1])
lines = out.read_text().splitlines(True) if out.exists() else []
done = {json.loads(line)["key"] for line in lines if line.endswith("\\n")}
owed = [
    Request(key=str(n), prompt="p", add_special_tokens=False, seed=n, sampling=Sampling())
    for n in range(400) if str(n) not in done
]
engine = RayEngine(make, identity="i", address="local", replicas=2, ahead=16)

def when_both_are_up():
    for number, request in enumerate(owed):
        while number == 8 and len(engine.process_ids) < 2:
            yield None
        yield request

with out.open("a") as file:
    for reply in engine.generate(when_both_are_up()):
        file.write(json.dumps({"key": reply.key}) + "\\n")
        file.flush()
        if len(done) == 0 and reply.key == "30":
            print(*engine.process_ids, flush=True)
engine.close()
"""


def test_the_driver_is_killed_and_resumes(tmp_path: Path) -> None:
    script, out = tmp_path / "driver.py", tmp_path / "rows.jsonl"
    script.write_text(DRIVER)
    environment = os.environ | {"RAY_ADDRESS": "127.0.0.1:1"}  # `local` is local whatever it says
    first = subprocess.Popen(
        [sys.executable, str(script), str(out)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=environment,
    )  # fmt: skip
    assert first.stdout is not None
    replicas = [int(word) for word in first.stdout.readline().split()]
    assert len(replicas) == 2
    first.kill()
    first.wait()
    first.stdout.close()
    before = out.read_text().count("\n")
    assert 0 < before < 400
    subprocess.run(
        [sys.executable, str(script), str(out)], check=True, stderr=subprocess.DEVNULL, env=environment
    )
    rows = [json.loads(line)["key"] for line in out.read_text().splitlines()]
    assert sorted(rows, key=int) == [str(n) for n in range(400)]
    late = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in replicas):
        assert time.monotonic() < late, "replicas outlive their driver"
        time.sleep(0.2)
