"""Stands in for `vllm serve`: a slow start, a child process, a log, and answers in words that follow from the prompt.

What it is to do wrong is in FAKE_VLLM: `crash` (in starting), `die` (after 40 calls, once), `pause` (after 40 calls, be
there and take no connection for two seconds).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[4]))

from fault_server import FaultServer

WRONG = os.environ.get("FAKE_VLLM", "")
NOTES = Path(os.environ["FAKE_VLLM_NOTES"])


def main() -> None:
    flags = dict(argument.partition("=")[::2] for argument in sys.argv[3:])
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])  # as its engine core
    with NOTES.open("a") as notes:
        told = {"pids": [os.getpid(), child.pid], "flags": flags, "key": os.environ["VLLM_API_KEY"]}
        notes.write(json.dumps(told) + "\n")
    print("INFO loading the weights", flush=True)
    time.sleep(1.0)
    if WRONG == "crash":
        child.kill()
        told = "(EngineCore pid=7) ERROR 01-02 03:04:05 [core.py:1] "
        frames = [
            f'{told}  File "/x/y{n}.py", line {n}, in z\n{told}    deeper(hf_{n:020})' for n in range(40)
        ]
        print(f"{told}Traceback (most recent call last):", *frames, sep="\n")
        print(f"{told}ValueError: the weights do not fit into memory (token hf_{'x' * 30})")
        print("Traceback (most recent call last):", *(frame.replace(told, "") for frame in frames), sep="\n")
        print("RuntimeError: Engine core initialization failed. See root cause above.", flush=True)
        raise SystemExit(3)
    first = len(NOTES.read_text().splitlines()) == 1

    def pause() -> None:
        server.vanish()
        time.sleep(2.0)
        server.listen()

    def fault(number: int, body: dict[str, object]) -> str | None:
        if WRONG == "pause" and number == 40:
            threading.Thread(target=pause, daemon=True).start()
        if WRONG == "die" and first and number == 40:
            print("ERROR an illegal memory access", flush=True)
            os._exit(9)
        return None

    server = FaultServer(
        fault=fault, owner="vllm", model=flags["--served-model-name"], port=int(flags["--port"])
    )
    server.latency = 0.01
    with server:
        time.sleep(600)


if __name__ == "__main__":
    main()
