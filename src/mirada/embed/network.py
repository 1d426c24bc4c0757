"""Networks on OpenVINO whose answer for a photograph never depends on what else is in the batch.

Kernels are chosen by shape, and other kernels add in another order. So a `Network` is compiled for one static
batch and pads the last, partial one: every photograph meets the same kernels, alone or in a crowd, in this process
or another. Throughput comes from streams, each a thread with its own batch (docs/adr/0003-runtime.md has the
figures).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mirada.embed import vino
from mirada.engine.local import available_cpus
from mirada.errors import BackboneError, InputError
from mirada.messages import msg
from mirada.types import Precision

EMBEDDING = "embedding"
BATCH = 4
HEAD_BATCH = 8
MAX_STREAMS = 8
Floats = npt.NDArray[np.float32]
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Slot:
    """An infer request with the arrays it reads from and writes to: nothing is copied on its way in."""

    request: Any
    inputs: Array  # (batch, …)
    outputs: Floats  # (batch, k)


class StaticNetwork:
    """One input, one output, one compiled shape (batch, …) → (batch, k). Safe to use from several threads."""

    def __init__(self, model: Any, *, precision: Precision, n_streams: int) -> None:
        self.precision: Precision = precision
        self.n_streams = n_streams
        hints = {
            "INFERENCE_PRECISION_HINT": precision,
            "NUM_STREAMS": n_streams,
            "INFERENCE_NUM_THREADS": n_streams,
            # Decoding threads run beside these: pinned threads would wait for a core that they hold.
            "ENABLE_CPU_PINNING": False,
        }
        self._compiled = vino.core().compile_model(model, vino.DEVICE, hints)
        self.input_shape = tuple(int(side) for side in self._compiled.input(0).shape)
        self.batch_size, self.dim = (int(side) for side in self._compiled.output(0).shape)
        self._dtype = self._compiled.input(0).element_type.to_dtype()
        # Requests cost a tenth of a millisecond: a caller that finds none idle makes one, and nobody ever waits.
        self._idle: list[_Slot] = []

    @property
    def device_name(self) -> str:
        """The processor it runs on."""
        return vino.device_name()

    def run_batch(self, rows: Array) -> Floats:
        """(n, …) → float32 (n, k); n may be anything. Raises InputError for another shape or dtype."""
        self._check(rows.shape[1:], rows.dtype)
        out = np.empty((len(rows), self.dim), np.float32)
        done = 0
        chunks = (rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size))
        for answer in self._stream(chunks):
            out[done : done + len(answer)] = answer
            done += len(answer)
        return out

    def run(self, rows: Iterable[Array]) -> Iterator[Floats]:
        """Stream single inputs: yields float32 (k,) in order; few are in flight, and `rows` is drawn meanwhile."""
        source = iter(rows)
        for answer in self._stream(self._chunks(source)):
            yield from answer.copy()

    def _chunks(self, source: Iterator[Array]) -> Iterator[Sequence[Array]]:
        while chunk := list(islice(source, self.batch_size)):
            for row in chunk:
                self._check(row.shape, row.dtype)
            yield chunk

    def _stream(self, chunks: Iterable[Sequence[Array] | Array]) -> Iterator[Floats]:
        """Yield each chunk's answer (a view, good until the next), with one chunk waiting behind each stream."""
        flying: deque[tuple[_Slot, int]] = deque()
        try:
            for chunk in chunks:
                if len(flying) > self.n_streams:
                    yield from self._land(flying)
                slot = self._take_slot()
                for position, row in enumerate(chunk):
                    slot.inputs[position] = row
                flying.append((slot, len(chunk)))
                slot.request.start_async()
            while flying:
                yield from self._land(flying)
        finally:
            # The caller went away: let its requests end before others may use them.
            for slot, _ in flying:
                slot.request.wait()
                self._idle.append(slot)

    def _land(self, flying: deque[tuple[_Slot, int]]) -> Iterator[Floats]:
        slot, n = flying[0]
        slot.request.wait()
        flying.popleft()
        try:
            answer = slot.outputs[:n]
            if not np.isfinite(answer).all():
                raise BackboneError(
                    msg("The network answers with values that are not numbers."),
                    msg("Its weights are damaged or overflow in {precision}; try f32.", precision=self.precision),
                )
            yield answer
        finally:
            self._idle.append(slot)

    def _take_slot(self) -> _Slot:
        try:
            return self._idle.pop()
        except IndexError:
            return self._make_slot()

    def _make_slot(self) -> _Slot:
        request = self._compiled.create_infer_request()
        inputs = np.zeros(self.input_shape, self._dtype)
        outputs = np.zeros((self.batch_size, self.dim), np.float32)
        tensor = vino.load_openvino().Tensor
        request.set_input_tensor(tensor(inputs, shared_memory=True))
        request.set_output_tensor(tensor(outputs, shared_memory=True))
        return _Slot(request, inputs, outputs)

    def _check(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        if shape != self.input_shape[1:] or dtype != self._dtype:
            raise InputError(
                msg(
                    "The network takes {wanted} of {wanted_dtype}; got {shape} of {dtype}.",
                    wanted=self.input_shape[1:],
                    wanted_dtype=np.dtype(self._dtype).name,
                    shape=shape,
                    dtype=dtype.name,
                )
            )


class Network(StaticNetwork):
    """uint8 photographs (n, S, S, 3), RGB, to float32 (n, d): a backbone, or a bundle cut at a tensor.

    model: an ONNX file, its bytes, or an `openvino.Model`; output: the tensor's name (None: "embedding" where there
    is one, else the model's first output); precision: "auto", "bf16" or "f32". Raises BackboneError.
    """

    def __init__(
        self,
        model: Path | bytes | Any,
        *,
        precision: Literal["auto", "bf16", "f32"] | str = "auto",
        output: str | None = None,
        batch_size: int = BATCH,
        n_streams: int = 0,
    ) -> None:
        resolved = vino.resolve_precision(precision)
        graph = vino.read_model(model) if isinstance(model, Path | bytes) else model.clone()
        part = part_before(graph, output or (EMBEDDING if has_tensor(graph, EMBEDDING) else None))
        self.input_size = check_images_input(part)
        part.reshape([batch_size, self.input_size, self.input_size, 3])
        super().__init__(part, precision=resolved, n_streams=n_streams or min(available_cpus(), MAX_STREAMS))


class HeadNetwork(StaticNetwork):
    """What stands behind the tensor `start` of a bundle: float32 (n, d) to float32 (n, k), always in float32."""

    def __init__(
        self,
        model: Path | bytes | Any,
        *,
        start: str = EMBEDDING,
        output: str | None = None,
        batch_size: int = HEAD_BATCH,
    ) -> None:
        graph = vino.read_model(model) if isinstance(model, Path | bytes) else model.clone()
        head = part_behind(graph, start, output)
        head.reshape([batch_size, int(head.input(0).partial_shape[1].get_length())])
        super().__init__(head, precision="f32", n_streams=1)


def split_model(model: Any, tensor: str = EMBEDDING, *, output: str | None = None) -> tuple[Any, Any]:
    """Cut an `openvino.Model` at a tensor: (images → tensor, tensor → `output`, or the first output behind it).

    Both are new models; `model` is left as it was. Raises BackboneError where there is no such tensor or output.
    """
    return part_before(model.clone(), tensor), part_behind(model.clone(), tensor, output)


def part_before(model: Any, tensor: str | None) -> Any:
    """What leads from the inputs to `tensor` (None: to the first output). Uses up `model`."""
    end = _find(model, tensor) if tensor is not None else model.outputs[0]
    return vino.load_openvino().Model([end], model.get_parameters(), "backbone")


def part_behind(model: Any, tensor: str, output: str | None = None) -> Any:
    """What leads from `tensor` alone to `output` (None: to the first output that it reaches). Uses up `model`."""
    ov = vino.load_openvino()
    port = _find(model, tensor)
    ends = [result for result in model.get_results() if result.input_value(0) != port]
    if output is not None:
        ends = [end for end in ends if output in end.output(0).get_names() | end.input_value(0).get_names()]
    parameter = ov.opset13.parameter(port.partial_shape, port.element_type, name=tensor)
    for target in port.get_target_inputs():
        target.replace_source_output(parameter.output(0))
    parameter.output(0).set_names({tensor})
    for end in ends:
        try:
            return ov.Model([end], [parameter], "head")
        except RuntimeError:
            continue  # this output needs the photographs too
    raise BackboneError(msg('Nothing stands behind the tensor "{name}" of the model.', name=tensor))


def has_tensor(model: Any, name: str) -> bool:
    """Whether some tensor of the model is called `name`."""
    return any(name in port.get_names() for node in model.get_ops() for port in node.outputs())


def check_images_input(model: Any) -> int:
    """The side S of the model's uint8 input (n, S, S, 3). Raises BackboneError where it has another input."""
    shape = model.inputs[0].partial_shape if len(model.inputs) == 1 else None
    sides = [dim.get_length() if dim.is_static else None for dim in shape] if shape is not None else []
    is_uint8 = bool(sides) and model.inputs[0].element_type.to_dtype() == np.uint8
    if not is_uint8 or len(sides) != 4 or sides[1] is None or sides[1] != sides[2] or sides[3] != 3:
        got = ", ".join(f"{port.element_type.get_type_name()} {port.partial_shape}" for port in model.inputs)
        raise BackboneError(
            msg("A backbone takes uint8 photographs (n, S, S, 3); this model takes {got}.", got=got or "–"),
            msg("`--backbone NAME --weights FILE` converts a timm model into that form."),
        )
    return int(sides[1])


def _find(model: Any, name: str) -> Any:
    for node in model.get_ordered_ops():
        # A Result repeats the name of the tensor it returns; the producer stands before it in this order.
        if node.get_type_name() == "Result":
            continue
        for port in node.outputs():
            if name in port.get_names():
                return port
    raise BackboneError(
        msg('The model has no tensor "{name}".', name=name), msg("Make it again with this version of Mirada.")
    )
