"""Every error Mirada raises on purpose, as one tree.

    MiradaError                 code                 http  exit
    ├── UsageError              usage                400   2     the call itself is wrong
    ├── InputError              bad_input            422   1     what was given cannot be used
    │   ├── DecodeError         (its reason)         415   1     this is not a photograph we can read
    │   └── NotEnoughData       not_enough_data      422   1     too few photographs or classes
    ├── NotFound                not_found            404   1
    ├── Conflict                conflict             409   1     somebody else was faster
    ├── WorkspaceError          workspace            500   1     the project folder cannot be used
    │   └── WorkspaceTooNew     workspace_too_new    500   1
    ├── BundleError             bad_bundle           500   1     a model folder that must not be trusted
    ├── BackboneError           bad_backbone         422   1
    ├── MissingExtra            missing_extra        501   1     an optional part is not installed
    ├── StorageError            storage              507   1     disk full, read-only, no permission
    ├── Unauthorized            unauthorized         401   1
    ├── Forbidden               forbidden            403   1
    ├── TooLarge                too_large            413   1
    ├── Busy                    busy                 429   1     come back later
    └── Unavailable             unavailable          503   1

An error is a sentence (what, where, what is allowed, what was given) and a hint (what to do next).
"""

from __future__ import annotations

from typing import ClassVar

from mirada.messages import Message

__all__ = [
    "BackboneError",
    "BundleError",
    "Busy",
    "Conflict",
    "DecodeError",
    "Forbidden",
    "InputError",
    "MiradaError",
    "MissingExtra",
    "NotEnoughData",
    "NotFound",
    "StorageError",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "UsageError",
    "WorkspaceError",
    "WorkspaceTooNew",
]


class MiradaError(Exception):
    """Base of the tree; `message` and `hint` are rendered in the reader's language."""

    code: str = "error"
    http_status: ClassVar[int] = 500
    exit_status: ClassVar[int] = 1

    def __init__(self, message: Message, hint: Message | None = None, *, code: str | None = None) -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return str(self.message) if self.hint is None else f"{self.message} {self.hint}"

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders: rebuild from the parts, not from the rendered sentence.
        return (_rebuild, (type(self), self.message, self.hint, self.code))

    def to_json(self, language: str | None = None) -> dict[str, dict[str, str]]:
        """The one error shape of command line and HTTP."""
        hint = self.hint.render(language) if self.hint else ""
        return {"error": {"code": self.code, "message": self.message.render(language), "hint": hint}}


def _rebuild(kind: type[MiradaError], message: Message, hint: Message | None, code: str) -> MiradaError:
    return kind(message, hint, code=code)


class UsageError(MiradaError):
    """The call itself is wrong: an unknown flag, a value that is not allowed."""

    code = "usage"
    http_status = 400
    exit_status = 2


class InputError(MiradaError):
    """What was given cannot be used."""

    code = "bad_input"
    http_status = 422


class DecodeError(InputError):
    """A file that cannot be read as a photograph; `code` is the reason, one of `mirada.imaging.decode.REASONS`."""

    code = "unreadable"
    http_status = 415


class NotEnoughData(InputError):
    """Too few photographs, classes or labels for what was asked."""

    code = "not_enough_data"


class NotFound(MiradaError):
    """No such photograph, model, run or file."""

    code = "not_found"
    http_status = 404


class Conflict(MiradaError):
    """Somebody else changed it first."""

    code = "conflict"
    http_status = 409


class WorkspaceError(MiradaError):
    """The project folder cannot be used."""

    code = "workspace"


class WorkspaceTooNew(WorkspaceError):
    """The project folder was written by a later version of Mirada."""

    code = "workspace_too_new"


class BundleError(MiradaError):
    """A model folder that must not be trusted."""

    code = "bad_bundle"


class BackboneError(MiradaError):
    """A backbone that is unknown, broken or does not fit."""

    code = "bad_backbone"
    http_status = 422


class MissingExtra(MiradaError):
    """An optional part of Mirada is not installed."""

    code = "missing_extra"
    http_status = 501


class StorageError(MiradaError):
    """The disk is full, read-only, or not ours to write."""

    code = "storage"
    http_status = 507


class Unauthorized(MiradaError):
    """No valid key or session."""

    code = "unauthorized"
    http_status = 401


class Forbidden(MiradaError):
    """The key or session does not allow this."""

    code = "forbidden"
    http_status = 403


class TooLarge(MiradaError):
    """More bytes, pixels or files than are accepted."""

    code = "too_large"
    http_status = 413


class Busy(MiradaError):
    """Too many photographs are waiting: come back after `retry_after_s`, which goes into the Retry-After header."""

    code = "busy"
    http_status = 429
    retry_after_s: int = 1


class Unavailable(MiradaError):
    """Not ready to answer now: come back after `retry_after_s`, which goes into the Retry-After header."""

    code = "unavailable"
    http_status = 503
    retry_after_s: int = 1
