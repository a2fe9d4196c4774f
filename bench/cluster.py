"""A run over a Ray cluster of several nodes: one is removed in mid-run, one joins late, and the driver is killed once.

    python bench/cluster.py                  # Ray's own multi-node test cluster, all nodes on this machine

Rows are written by the driver alone, to one file; a second driver goes on where the first was killed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from upwell.engines.base import Reply, Request, Sampling
from upwell.engines.scripted import ScriptedEngine


def drive(address: str, out: Path, count: int) -> None:
    """Answer what is owed into the file."""
    from upwell.engines.ray import RayEngine

    done = {json.loads(line)["key"] for line in out.read_text().splitlines(True) if line.endswith("\n")}
    owed = (
        Request(key=str(n), prompt=f"p{n // 8}", add_special_tokens=False, seed=n, sampling=Sampling())
        for n in range(count)
        if str(n) not in done
    )

    def build() -> ScriptedEngine:
        import ray

        node = ray.get_runtime_context().get_node_id()

        def speak(request: Request) -> Reply:
            time.sleep(0.01)
            return Reply(key=request.key, text=node)

        return ScriptedEngine(speak)

    engine = RayEngine(build, identity="scripted", address=address, replicas=4, cpus=1, ahead=16, say=print)
    with out.open("a") as file:
        for reply in engine.generate(owed):
            file.write(json.dumps({"key": reply.key, "node": reply.text}) + "\n")
            file.flush()
    engine.close()


def rows(out: Path) -> int:
    return out.read_text().count("\n")


def until(out: Path, count: int, child: subprocess.Popen[bytes]) -> None:
    late = time.monotonic() + 240
    while rows(out) < count and child.poll() is None:
        if time.monotonic() > late:
            raise SystemExit("no progress")
        time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--drive", nargs=2, metavar=("ADDRESS", "OUT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.drive:
        drive(given.drive[0], Path(given.drive[1]), given.requests)
        return
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    first = cluster.add_node(num_cpus=1)
    cluster.add_node(num_cpus=1)
    out = Path(tempfile.mkdtemp()) / "rows.jsonl"
    out.touch()
    command = [
        sys.executable,
        __file__,
        "--requests",
        str(given.requests),
        "--drive",
        cluster.address,
        str(out),
    ]
    total = given.requests
    child = subprocess.Popen(command)
    until(out, total // 5, child)
    print(f"{rows(out):,} rows: removing a node", flush=True)
    cluster.remove_node(first, allow_graceful=False)
    until(out, 2 * total // 5, child)
    print(f"{rows(out):,} rows: a node joins", flush=True)
    cluster.add_node(num_cpus=1)
    until(out, 3 * total // 5, child)
    print(f"{rows(out):,} rows: killing the driver", flush=True)
    child.kill()
    child.wait()
    subprocess.run(command, check=True)
    found = [json.loads(line) for line in out.read_text().splitlines()]
    keys = Counter(row["key"] for row in found)
    nodes = Counter(row["node"][:8] for row in found)
    print(
        f"rows {len(found):,}, owed {total - len(keys):,}, duplicated {len(found) - len(keys):,}; by node {dict(nodes)}"
    )
    cluster.shutdown()


if __name__ == "__main__":
    main()
