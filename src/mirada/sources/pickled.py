"""Read the pickles of the CIFAR data sets without executing them.

A pickle is a program, and loading it runs it. The official CIFAR files (Python 2, protocol 2) need few of its
instructions: dictionaries, lists, numbers, strings, and one array of bytes. This is an interpreter of those
alone. `pickletools.genops` cuts the file into instructions without running any; the few known names stand for
functions of our own, whatever else a file names is refused. Protocols 3 and 4 as Python 3 writes the same
content are read too.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from mirada.errors import InputError
from mirada.messages import msg
from mirada.sources.base import no_permission
from mirada.sources.uris import shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MARK = object()
_PUSH_ARGUMENT = frozenset(
    [
        "BININT", "BININT1", "BININT2", "LONG1", "INT", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
        "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    ]
)  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLE_SIZES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = frozenset(["PROTO", "FRAME"])


class _Refused(ValueError):
    """The file asks for more than data."""


class _Name(str):
    """A function or class that the pickle names; it is never looked up."""


class _Type:
    """Stands for `numpy.dtype("u1")`, the only element type that is read."""


class _Array:
    """Stands for an array of bytes until BUILD gives it shape and content."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.data = b""


def load_batch(path: str) -> dict[str, object]:
    """The dictionary in a CIFAR file: keys as text; `data` as a uint8 array (n, d); lists of text and numbers.

    Raises InputError where the file holds anything else; nothing in it is ever executed.
    """
    try:
        with Path(path).open("rb") as handle:
            content = _Machine().run(handle)
        return {_text(key): _plain(value) for key, value in content.items()}
    except PermissionError as error:
        raise no_permission(path) from error
    except (_Refused, ValueError, IndexError, KeyError, TypeError, RecursionError) as error:
        # genops raises ValueError on what is no pickle; a program that does not add up ends in the others.
        raise InputError(
            msg("{path} is not a CIFAR file that can be read safely: {error}.", path=shown(path), error=error),
            msg("Mirada does not execute pickles. Download the official “python version” again."),
        ) from error


class _Machine:
    """The stack, the marks and the memo of one pickle."""

    def __init__(self) -> None:
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}

    def run(self, handle: BinaryIO) -> dict[object, object]:
        """Interpret up to STOP; the result must be a dictionary."""
        for opcode, argument, _ in pickletools.genops(handle):
            name = opcode.name
            if name == "STOP":
                break
            self._step(name, argument)
        result = self._stack.pop()
        if not isinstance(result, dict):
            raise _Refused("it holds no dictionary")
        return result

    def _step(self, name: str, argument: object) -> None:
        if name in _IGNORED:
            return
        if name in _PUSH_ARGUMENT:
            self._stack.append(argument)
        elif name in ("BINSTRING", "SHORT_BINSTRING"):
            # Python 2's str: bytes, which genops hands over as Latin-1 text.
            self._stack.append(str(argument).encode("latin-1"))
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _TUPLE_SIZES:
            self._stack.append(tuple(self._take(_TUPLE_SIZES[name])))
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self._memo[_integer(argument)] = self._stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            self._stack.append(self._memo[_integer(argument)])
        elif name in _STEPS:
            _STEPS[name](self, argument)
        else:
            raise _Refused(f"it uses the instruction {name}")

    def _take(self, n: int) -> list[object]:
        if n > len(self._stack):
            raise _Refused("it ends too early")
        taken = self._stack[len(self._stack) - n :]
        del self._stack[len(self._stack) - n :]
        return taken

    def _to_mark(self) -> list[object]:
        for i in range(len(self._stack) - 1, -1, -1):
            if self._stack[i] is _MARK:
                taken = self._stack[i + 1 :]
                del self._stack[i:]
                return taken
        raise _Refused("a mark is missing")

    def _memoize(self, _: object) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _append(self, items: list[object]) -> None:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise _Refused("it extends what is no list")
        target.extend(items)

    def _set_items(self, items: list[object]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise _Refused("it fills what is no dictionary")
        target.update(zip(items[::2], items[1::2], strict=True))

    def _reduce(self, _: object) -> None:
        name, arguments = self._take(2)
        self._stack.append(_call(name, arguments))

    def _build(self, _: object) -> None:
        target, state = self._take(2)
        self._stack.append(target)
        if isinstance(target, _Array):
            _fill(target, state)
        elif not isinstance(target, _Type):
            raise _Refused("it changes an object that is no array")


_STEPS: dict[str, Callable[[_Machine, object], None]] = {
    "MARK": lambda machine, _: machine._stack.append(_MARK),
    "EMPTY_LIST": lambda machine, _: machine._stack.append([]),
    "EMPTY_DICT": lambda machine, _: machine._stack.append({}),
    "TUPLE": lambda machine, _: machine._stack.append(tuple(machine._to_mark())),
    "APPEND": lambda machine, _: machine._append(machine._take(1)),
    "APPENDS": lambda machine, _: machine._append(machine._to_mark()),
    "SETITEM": lambda machine, _: machine._set_items(machine._take(2)),
    "SETITEMS": lambda machine, _: machine._set_items(machine._to_mark()),
    "MEMOIZE": _Machine._memoize,
    "GLOBAL": lambda machine, argument: machine._stack.append(_name(str(argument))),
    "STACK_GLOBAL": lambda machine, _: machine._stack.append(_name(" ".join(map(str, machine._take(2))))),
    "REDUCE": _Machine._reduce,
    "BUILD": _Machine._build,
}

_ALLOWED = {
    "numpy.core.multiarray _reconstruct": "array",
    "numpy._core.multiarray _reconstruct": "array",
    "numpy ndarray": "class",
    "numpy dtype": "type",
    "_codecs encode": "encode",
}


def _name(full: str) -> _Name:
    if full not in _ALLOWED:
        raise _Refused(f"it names {full.replace(' ', '.')!r}")
    return _Name(_ALLOWED[full])


def _call(name: object, arguments: object) -> object:
    """Do what the four allowed names do, by our own means."""
    if not isinstance(name, _Name) or not isinstance(arguments, tuple):
        raise _Refused("it calls what is no function")
    if name == "array":
        return _Array()
    if name == "type" and _text(arguments[0]) in ("u1", "uint8", "|u1"):
        return _Type()
    if name == "encode" and isinstance(arguments[0], str) and arguments[1:] in (("latin1",), ("latin-1",)):
        return arguments[0].encode("latin-1")
    raise _Refused(f"it makes a {name} that is not of bytes")


def _fill(array: _Array, state: object) -> None:
    if not isinstance(state, tuple) or len(state) != 5:
        raise _Refused("its array has no content")
    _, shape, kind, by_column, data = state
    if not isinstance(kind, _Type) or by_column or not isinstance(data, bytes) or not isinstance(shape, tuple):
        raise _Refused("its array is not of bytes by row")
    array.shape = tuple(_integer(side) for side in shape)
    array.data = data


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return _text(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, _Array):
        return _as_array(value)
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise _Refused(f"it holds a {type(value).__name__.strip('_')}")


def _as_array(array: _Array) -> NDArray[np.uint8]:
    import numpy as np

    return np.frombuffer(array.data, np.uint8).reshape(array.shape)


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str):
        return str(value)
    raise _Refused("a name is no text")


def _integer(value: object) -> int:
    if isinstance(value, int):
        return value
    raise _Refused("a number is missing")
