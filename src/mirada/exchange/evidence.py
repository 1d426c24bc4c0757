"""What speaks for an issue, in a few words: for a column of a table, on the screen or in a spreadsheet."""

from __future__ import annotations

from collections.abc import Mapping

from mirada.exchange.base import Finding, suggestion
from mirada.imaging.base import REASONS
from mirada.messages import Message, decimal, msg
from mirada.sources.uris import split_row, uri_name, uri_path

KINDS: Mapping[str, Message] = {
    "bytes": msg("the same bytes"),
    "pixels": msg("the same pixels"),
    "resized": msg("resized"),
    "re-encoded": msg("encoded again"),
    "cropped": msg("cropped"),
    "brightened": msg("lighter or darker"),
    "mirrored": msg("mirrored"),
    "rotated": msg("rotated"),
    "greyed": msg("without colour"),
}
# What each check of quality goes by: its first measurement, or the one that it makes of width and height.
MEASURES: Mapping[str, Message] = {
    "brightness_p95": msg("lightest parts"),
    "brightness_p1": msg("darkest parts"),
    "sharpness": msg("sharpness"),
    "side": msg("side in pixels"),
    "long_by_short": msg("longer side by shorter side"),
    "entropy": msg("variety of tones"),
    "chroma": msg("colour"),
    "border": msg("share of the frame"),
}


def because(found: Finding) -> Message | None:
    """Why `found` is an issue: a class, another photograph, a measurement; None where the evidence names none."""
    evidence = found.evidence
    label, sure = suggestion(evidence)
    if label is not None:
        if sure is None:
            return msg("looks like {label}", label=label)
        return msg("looks like {label} ({sure} %)", label=label, sure=decimal(100 * sure, 0))
    if "reason" in evidence:
        reason = str(evidence["reason"])
        return REASONS.get(reason, msg("{text}", text=reason))
    return _copy(found) or _nearest(evidence.get("neighbours")) or _measured(evidence)


def _copy(found: Finding) -> Message | None:
    name = _other(found)
    if name is None:
        return None
    kinds = found.evidence.get("kinds") or found.evidence.get("kind")
    names = [str(kind) for kind in kinds] if isinstance(kinds, list | tuple) else [str(kinds)]
    known = ", ".join(str(KINDS[kind]) for kind in names if kind in KINDS)
    part = found.evidence.get("other_part")
    if part is not None:
        return msg("copy of {name} in {part} ({kinds})", name=name, part=part, kinds=known) if known else msg(
            "copy of {name} in {part}", name=name, part=part)  # fmt: skip
    return msg("copy of {name} ({kinds})", name=name, kinds=known) if known else msg("copy of {name}", name=name)


def _other(found: Finding) -> str | None:
    """The file that `found` is a copy of, with its folder where the two have one name; else its sample id."""
    evidence = found.evidence
    uri, members = evidence.get("uri"), evidence.get("members")
    if isinstance(uri, str) and uri != found.uri:
        name = uri_name(uri)
        folder = uri_path(uri).rpartition("/")[0] if split_row(uri) is None else ""
        return f"{uri_name(folder)}/{name}" if folder and name == uri_name(found.uri) else name
    ids = [evidence.get("copy_of"), *(members if isinstance(members, list | tuple) else ())]
    return next((one for one in ids if isinstance(one, str) and one != found.sample_id), None)


def _nearest(neighbours: object) -> Message | None:
    first = neighbours[0] if isinstance(neighbours, list | tuple) and neighbours else None
    if not isinstance(first, Mapping) or not isinstance(first.get("similarity"), int | float):
        return None
    similarity = decimal(first["similarity"], 2)
    if not first.get("label"):
        return msg("the nearest has similarity {similarity}", similarity=similarity)
    return msg("the nearest is of {label}, similarity {similarity}", label=first["label"], similarity=similarity)


def _measured(evidence: Mapping[str, object]) -> Message | None:
    """The measurement that an issue goes by, beside what nine in ten photographs have."""
    measured, usual = evidence.get("measured"), evidence.get("usual")
    if not isinstance(measured, Mapping) or not measured:
        return None
    name = next((key for key in ("side", "long_by_short") if key in measured), next(iter(measured)))
    value = measured[name]
    told = MEASURES.get(str(name), str(name).replace("_", " "))
    around = usual.get(name) if isinstance(usual, Mapping) else None
    low, high = (around.get("low"), around.get("high")) if isinstance(around, Mapping) else (None, None)
    if low is None or high is None:
        return msg("{name} {value}", name=told, value=_number(value))
    return msg("{name} {value}, here mostly {low} to {high}", name=told, value=_number(value), low=_number(low),
               high=_number(high))  # fmt: skip


def _number(value: object) -> str:
    if not isinstance(value, int | float):
        return "–"
    return decimal(value, 0 if abs(value) >= 100 else 2)
