"""What training takes of the machine, sampled in a light thread: processor, memory, GPU."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import psutil
import torch

PERIOD_S = 0.5
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Usage:
    """Over a stretch of time: mean processor use (100: one core), peaks of memory in MiB, mean use of the GPU."""

    cpu_percent: float
    rss_mb: float
    gpu_mb: float | None
    gpu_percent: float | None


class ResourceWatch:
    """Samples this process while the block lasts; `usage` tells of the time since it was last asked."""

    def __init__(self, device: torch.device, *, period_s: float = PERIOD_S) -> None:
        self._device = device if device.type == "cuda" else None
        self._period_s = period_s
        self._process = psutil.Process()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="mirada-resources", daemon=True)
        self._gpu_tells = self._device is not None
        self._lock = threading.Lock()
        self._start_over()

    def __enter__(self) -> ResourceWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def usage(self) -> Usage:
        """What was used since the last call, or since the beginning."""
        self._sample()
        with self._lock:
            passed, used = time.perf_counter() - self._since, self._processor_s() - self._used_s
            gpu = [value for value in self._gpu if value is not None]
            told = Usage(
                cpu_percent=round(100 * used / max(passed, 1e-3), 1),
                rss_mb=round(max(self._rss), 1),
                gpu_mb=round(torch.cuda.max_memory_reserved(self._device) / MIB, 1) if self._device else None,
                gpu_percent=round(sum(gpu) / len(gpu), 1) if gpu else None,
            )
            self._start_over()
        return told

    def _start_over(self) -> None:
        self._since, self._used_s = time.perf_counter(), self._processor_s()
        self._rss: list[float] = []
        self._gpu: list[float | None] = []
        if self._device is not None:
            torch.cuda.reset_peak_memory_stats(self._device)

    def _watch(self) -> None:
        while not self._over.wait(self._period_s):
            self._sample()

    def _sample(self) -> None:
        rss, gpu = self._process.memory_info().rss / MIB, self._gpu_use()
        with self._lock:
            self._rss.append(rss)
            self._gpu.append(gpu)

    def _gpu_use(self) -> float | None:
        """Percent of the last moment in which the GPU worked; None where NVIDIA's library does not tell."""
        if not self._gpu_tells:
            return None
        try:
            return float(torch.cuda.utilization(self._device))
        except Exception:  # noqa: BLE001 (no nvidia-ml-py, or whatever the driver raises: training goes on)
            self._gpu_tells = False
            return None

    def _processor_s(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)
