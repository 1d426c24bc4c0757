"""The door to OpenVINO: imported late, kept off the network, and asked what this processor can do.

Importing `openvino` the plain way also imports its converter, which starts a thread that forks a child and
sends an event to google-analytics.com, and takes half of the import's time. `load_openvino` leaves the converter
out. Everything in Mirada gets OpenVINO from here.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

from mirada.errors import BackboneError, UsageError
from mirada.messages import msg
from mirada.types import Precision

DEVICE = "CPU"
# Values of oneDNN's switch that leave no native bfloat16; OpenVINO goes on reporting BF16 under them and then fails.
_ISA_WITHOUT_BF16 = frozenset({"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI"})
_lock = Lock()


def load_openvino() -> ModuleType:
    """The `openvino` module, without its converter and telemetry."""
    with _lock:
        if "openvino" not in sys.modules:
            # None in sys.modules makes the import fail, which openvino/__init__.py allows for ("Tools").
            blocked = [name for name in ("openvino.tools", "openvino_telemetry") if name not in sys.modules]
            sys.modules.update(dict.fromkeys(blocked))  # type: ignore[arg-type]
            try:
                import openvino
            finally:
                # The converter may be wanted by others later (quantisation); the telemetry stays out for good.
                if "openvino.tools" in blocked:
                    del sys.modules["openvino.tools"]
        import openvino
    module: ModuleType = openvino
    return module


@cache
def core() -> Any:
    """The process's one `openvino.Core`."""
    return load_openvino().Core()


def read_model(model: Path | bytes) -> Any:
    """An `openvino.Model` from an ONNX file or its bytes. Raises BackboneError where it is not one."""
    where = msg("the model in memory") if isinstance(model, bytes) else model
    if isinstance(model, Path) and not model.is_file():
        raise BackboneError(
            msg("There is no model file {path}.", path=model), msg("Check the path, or name another backbone.")
        )
    try:
        return core().read_model(model)
    except RuntimeError as error:
        raise BackboneError(
            msg("{path} is not a sound ONNX model: {error}", path=where, error=_last_line(error)),
            msg("The file may be cut short or of another kind; make or fetch it again."),
        ) from error


def has_bf16() -> bool:
    """Whether this processor computes in bfloat16 natively, as ONEDNN_MAX_CPU_ISA allows."""
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    if limit.upper() in _ISA_WITHOUT_BF16:
        return False
    return "BF16" in core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")


def resolve_precision(wanted: str) -> Precision:
    """What "auto", "bf16" or "f32" means on this machine. Raises UsageError for bf16 where there is none."""
    if wanted == "f32":
        return "f32"
    if wanted not in ("auto", "bf16"):
        raise UsageError(msg("The precision must be auto, bf16 or f32; got {given}.", given=wanted))
    if has_bf16():
        return "bf16"
    if wanted == "bf16":
        raise UsageError(msg("This processor does not compute in bf16."), msg("Use auto or f32."))
    return "f32"


def device_name() -> str:
    """The processor as it calls itself."""
    return str(core().get_property(DEVICE, "FULL_DEVICE_NAME")).strip()


def runtime_version() -> str:
    """OpenVINO's version."""
    return str(load_openvino().get_version())


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
