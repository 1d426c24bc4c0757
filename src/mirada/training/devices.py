"""Where a network learns, in which precision, and what a lack of memory looks like."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch

from mirada.errors import UsageError
from mirada.messages import msg

NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "cannot allocate memory")
# Values of oneDNN's switch that leave no native bfloat16.
_ISA_WITHOUT_BF16 = frozenset({"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI"})


@dataclass(frozen=True, slots=True)
class Machine:
    """A device and the format that matrices are multiplied in."""

    device: torch.device
    dtype: torch.dtype

    @property
    def on_gpu(self) -> bool:
        """Whether work is queued there, so that looking at a result waits for it."""
        return bool(self.device.type == "cuda")

    def seed(self, value: int) -> None:
        """Seed dropout. Not by torch.manual_seed, which keeps a stack trace of every call where there is no GPU."""
        torch.default_generator.manual_seed(value)
        if self.on_gpu:
            torch.cuda.manual_seed(value)

    def autocast(self) -> AbstractContextManager[object]:
        """The block in which layers compute in this machine's format."""
        context: AbstractContextManager[object] = torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.dtype is torch.bfloat16
        )
        return context


def choose_machine(device: str = "auto", precision: str = "auto") -> Machine:
    """The device and format that "auto" or a name means here. Raises UsageError for a GPU that is not there."""
    for name, given, allowed in (
        ("device", device, ("auto", "cpu", "cuda")),
        ("precision", precision, ("auto", "bf16", "f32")),
    ):
        if given not in allowed:
            raise UsageError(
                msg(
                    "The {name} must be one of {allowed}; got {given}.",
                    name=name,
                    allowed=", ".join(allowed),
                    given=given,
                )
            )
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            msg("There is no GPU that torch {version} can use here.", version=torch.__version__),
            msg("Use the device auto or cpu, or install a driver and a torch built for CUDA."),
        )
    chosen = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
    bf16 = precision == "bf16" or (precision == "auto" and _has_bf16(chosen))
    return Machine(chosen, torch.bfloat16 if bf16 else torch.float32)


def _has_bf16(device: torch.device) -> bool:
    """Natively: emulated bfloat16 is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    able = torch.cpu.get_capabilities()
    return limit.upper() not in _ISA_WITHOUT_BF16 and bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch, the processor's allocator or Python ran out of memory."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in NO_MEMORY)


@contextmanager
def own_generator_and_threads(machine: Machine, threads: int) -> Iterator[None]:
    """Leave torch's generators, its number of threads and how it picks a GPU's kernels as they were found."""
    before, tried = torch.get_num_threads(), torch.backends.cudnn.benchmark
    with torch.random.fork_rng(devices=[machine.device] if machine.on_gpu else []):
        try:
            if threads:
                torch.set_num_threads(threads)
            torch.backends.cudnn.benchmark = tried or machine.on_gpu
            yield
        finally:
            torch.backends.cudnn.benchmark = tried
            torch.set_num_threads(before)
