"""Hardware by name, what its arithmetic is assumed to reach, and what an hour of it is assumed to cost."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from upwell.errors import UsageError

HERE = "here"
"""This machine, whatever it is."""
MFU = 0.40
"""Share of the peak that training reaches, recomputation not counted. Assumed for GPUs, where well-kept runs of dense
models are reported between 0.3 and 0.55. Measured for a CPU, against its nominal clock: 37 to 40 tokens per CPU-second,
full fine-tuning of SmolLM2-135M in float32 on a busy two-core x86 machine of 2.45 GHz without bfloat16 units."""
_ON_GPU = 0.90
"""Share of a GPU's memory that tensors can have; the rest is the driver's, the allocator's gaps and communication."""
_ON_CPU = 0.80
"""The same for a machine that other programs use too."""


@dataclass(frozen=True)
class Device:
    """One accelerator, as its maker states it, and its price."""

    peak: float
    """Dense bfloat16 FLOP/s."""
    memory: float
    """Bytes."""
    price: float
    """Dollars per hour, assumed: the middle of what on-demand clouds asked in 2026."""


DEVICES = {
    "H100": Device(989.4e12, 80e9, 3.00),
    "H200": Device(989.4e12, 141e9, 4.00),
    "A100": Device(312e12, 80e9, 2.00),
}
"""By name; SXM boards, sparsity not counted; the A100 is the one of 80 GB."""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Equal devices that work on one run."""

    name: str
    devices: int
    peak: float
    """FLOP/s of one device."""
    memory: float
    """Bytes of one device that a run can use."""
    mfu: float
    """Share of the peak that the model's own arithmetic is assumed to reach."""
    price: float | None
    """Dollars per device-hour; None where it costs nothing extra."""
    bfloat16: bool = True
    """Whether it multiplies bfloat16 natively."""
    most_rows: int | None = None
    """Rows at once that keep it busy; None where more are always better."""


def find_hardware(name: str, *, mfu: float | None = None, price: float | None = None) -> Hardware:
    """Hardware by name.

    Args:
        name: `8xH100`, `A100` (one), or `here`.
        mfu: instead of the assumed share of the peak.
        price: dollars per device-hour instead of the assumed.

    Raises:
        UsageError: no such device, or this machine's GPU is not known.
    """
    if name == HERE:
        return _here(mfu, price)
    found = re.fullmatch(r"(?:([1-9]\d{0,4})x)?(\w+)", name)
    kind = found.group(2).upper() if found else ""
    if found is None or kind not in DEVICES:
        close = difflib.get_close_matches(kind, DEVICES, n=1)
        raise UsageError(
            f"no hardware `{name}`: it is NUMBERxDEVICE or {HERE}, the device one of {', '.join(DEVICES)}",
            f"--hardware 8x{close[0] if close else 'H100'}",
        )
    return _of(int(found.group(1) or 1), kind, mfu, price)


def _of(devices: int, kind: str, mfu: float | None, price: float | None) -> Hardware:
    device = DEVICES[kind]
    return Hardware(
        name=f"{devices}x{kind}",
        devices=devices,
        peak=device.peak,
        memory=device.memory * _ON_GPU,
        mfu=MFU if mfu is None else mfu,
        price=device.price if price is None else price,
    )


def _here(mfu: float | None, price: float | None) -> Hardware:
    """This machine: its GPUs where the driver names one that is known, else its CPU."""
    gpus = _gpus()
    for kind in DEVICES:
        count = sum(kind in gpu.upper() for gpu in gpus)
        if count:
            found = _of(count, kind, mfu, price)
            return replace(found, name=f"{HERE}: {found.name}", price=price)
    if gpus:
        raise UsageError(
            f"this machine's GPU `{gpus[0]}` is not known here", "--hardware 1xH100, to compare with"
        )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    told = _cpuinfo()
    return Hardware(
        name=f"{HERE}: {cores} CPU cores",
        devices=1,
        peak=cores * _core_peak(told),
        memory=_memory() * _ON_CPU,
        mfu=MFU if mfu is None else mfu,
        price=price,
        most_rows=1,
        bfloat16=bool(re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", told)),
    )


def _gpus() -> list[str]:
    """Names of the GPUs that the driver sees, without loading torch for it."""
    try:
        told = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in told.stdout.splitlines() if line.strip()]


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _core_peak(told: str) -> float:
    """FLOP/s of one core in float32: clock x lanes x 2 units x 2 of a fused multiply-add. A core that multiplies
    bfloat16 natively does more, so this errs on the slow side there."""
    clock = re.search(r"^cpu MHz\s*:\s*([\d.]+)", told, re.MULTILINE)
    lanes = 16 if " avx512f " in told else 8
    return (float(clock.group(1)) if clock else 2500.0) * 1e6 * lanes * 2 * 2


def _memory() -> float:
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
