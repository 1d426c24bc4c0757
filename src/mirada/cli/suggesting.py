"""``mirada suggest``: the next photographs to label, labels in bulk, and how far one has come."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mirada.cli.output import Result, Settings, per_cent, progress, speaks, table
from mirada.errors import NotFound, UsageError
from mirada.messages import Message, msg

if TYPE_CHECKING:
    from mirada.suggest.estimate import Estimate
    from mirada.workflow.answers import Recorded
    from mirada.workflow.suggesting import BulkProposal, Suggestions

MOST_PROPOSALS = 10
MOST_SHOWN = 3
WIDE = 0.2  # an estimate with a wider interval says little yet


@click.command(
    help=str(msg("Say which photographs to label next, propose labels in bulk, and estimate the accuracy reached.")),
    epilog=str(msg("Example: mirada suggest -o ask.csv, fill in its column label, mirada suggest --from ask.csv")),
)
@click.option(
    "-n", "n", type=click.IntRange(1, 10_000), default=20, show_default=True, help=str(msg("How many to ask about."))
)
@click.option("--backbone", metavar="NAME", help=str(msg("Backbone by name, or an .onnx file.")))
@click.option("--weights", type=click.Path(path_type=Path), metavar="FILE", help=str(msg("Weights of the backbone.")))
@click.option("--seed", type=int, metavar="N", help=str(msg("Seed of the order.")))
@click.option(
    "-o", "output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.csv",
    help=str(msg("Write the questions as CSV, with a column label to fill in.")),
)  # fmt: skip
@click.option(
    "--from", "answers", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.csv",
    help=str(msg("Record the labels of such a file first.")),
)  # fmt: skip
@click.option(
    "--accept", multiple=True, metavar="CLUSTER=LABEL",
    help=str(msg("Record the label for all photographs of a proposal; may be given several times.")),
)  # fmt: skip
@click.pass_obj
@speaks
def suggest(
    settings: Settings,
    *,
    n: int,
    backbone: str | None,
    weights: Path | None,
    seed: int | None,
    output: Path | None,
    answers: Path | None,
    accept: tuple[str, ...],
) -> Result:
    """Record what was answered, then ask what comes next."""
    from mirada.catalog.catalog import Catalog
    from mirada.workflow import answers as book
    from mirada.workflow.backbones import resolve_backbone
    from mirada.workflow.suggesting import suggest as questions

    workspace = settings.open()
    wanted = dict(_pair(text) for text in accept)
    rows = book.read_answers(answers) if answers else None
    shown = progress()
    seed = workspace.config.integer("train.seed") if seed is None else seed
    with Catalog.open(workspace.catalog_url) as catalog:
        network = resolve_backbone(workspace, backbone, weights, progress=shown)

        def ask() -> Suggestions:
            return questions(workspace, catalog, backbone=network, n=n, seed=seed, progress=shown)

        bulk = _accepted(ask().proposals, wanted) if wanted else {}
        recorded = book.record(catalog, rows, by=getpass.getuser()) if rows is not None else None
        accepted = book.record(catalog, bulk, by=getpass.getuser(), reason="suggest --accept") if bulk else None
        found = ask()
    if output is not None:
        book.write_questions(output, found.questions)
    told: list[str | Message] = []
    for record in (recorded, accepted):
        told += [*record.notes(), ""] if record else []
    document = {**_document(found), "recorded": _recorded(recorded), "accepted": _recorded(accepted)}
    return Result({**document, "path": output and str(output)}, [*told, *_lines(found, output)])


def _pair(text: str) -> tuple[str, str]:
    name, sign, label = text.partition("=")
    if not sign or not name.strip() or not label.strip():
        raise UsageError(
            msg("--accept takes CLUSTER=LABEL; got {text!r}.", text=text),
            msg("`mirada suggest` lists the clusters, with a label for each."),
        )
    return name.strip(), label.strip()


def _accepted(proposals: tuple[BulkProposal, ...], wanted: dict[str, str]) -> dict[str, str]:
    by_name = {proposal.name: proposal for proposal in proposals}
    unknown = [name for name in wanted if name not in by_name]
    if unknown:
        raise NotFound(
            msg("There is no proposal {name} (any more).", name=unknown[0]),
            msg("A proposal's name changes with the photographs in it: look at `mirada suggest` again."),
        )
    return {sample_id: label for name, label in wanted.items() for sample_id in by_name[name].sample_ids}


def _document(found: Suggestions) -> dict[str, object]:
    estimate = found.estimate
    return {
        "n": {"labelled": found.n_labelled, "unlabelled": found.n_unlabelled},
        "class_names": list(found.class_names),
        "questions": [
            {
                "sample_id": q.sample_id,
                "uri": q.uri,
                "cluster": q.cluster,
                "why": q.why,
                "label": q.label,
                "probability": q.probability,
            }
            for q in found.questions
        ],
        "proposals": [
            {
                "cluster": p.name,
                "label": p.label,
                "confidence": p.confidence,
                "n_agreeing": p.n_agreeing,
                "n": len(p.sample_ids),
                "sample_ids": list(p.sample_ids),
                "uris": list(p.uris),
            }
            for p in found.proposals
        ],
        "estimate": None
        if estimate is None
        else {"accuracy": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n},
        "change": found.change,
        "settled": found.settled,
        "notes": [str(note) for note in found.notes],
    }


def _recorded(record: Recorded | None) -> dict[str, object] | None:
    if record is None:
        return None
    return {
        "n": record.n,
        "n_same": record.n_same,
        "n_empty": record.n_empty,
        "unknown": list(record.unknown),
        "gone": list(record.gone),
        "new_classes": list(record.new_classes),
        "did_you_mean": dict(record.near),
    }


def _lines(found: Suggestions, output: Path | None) -> list[str | Message]:
    lines: list[str | Message] = [
        msg(
            "{labelled} photographs labelled, {unlabelled} not; {n} classes so far.",
            labelled=found.n_labelled,
            unlabelled=found.n_unlabelled,
            n=len(found.class_names),
        ),
        *_progress_lines(found),
        *found.notes,
    ]
    if output is not None:
        lines.append(msg("{n} questions are in {path}: fill in the column label.", n=len(found.questions), path=output))
    elif found.questions:
        lines += ["", *_question_lines(found)]
    if found.proposals:
        lines += ["", *_proposal_lines(found.proposals)]
    if found.questions:
        lines += ["", _next_line(output)]
    if found.proposals:
        first = found.proposals[0]
        accept = msg("Accept a proposal: mirada suggest --accept {name}={label}", name=first.name, label=first.label)
        lines += [accept] if found.questions else ["", accept]
    return lines


def _next_line(output: Path | None) -> Message:
    if output is not None:
        return msg("Once it is filled in: mirada suggest --from {path}", path=output)
    return msg("Answer them: mirada suggest -o ask.csv, fill in its column label, mirada suggest --from ask.csv")


def _progress_lines(found: Suggestions) -> list[Message]:
    lines = []
    if found.estimate is not None:
        lines.append(_estimate_line(found.estimate))
    elif found.questions:
        lines.append(msg("Too few answers to estimate the accuracy."))
    if found.settled and found.change is not None:
        lines.append(
            msg(
                "More answers will hardly help: a fifth of them changed {share} of the rest. Now: `mirada train`.",
                share=per_cent(found.change),
            )
        )
    return lines


def _estimate_line(found: Estimate) -> Message:
    value, low, high = per_cent(found.value), per_cent(found.low), per_cent(found.high)
    if found.high - found.low > WIDE:
        return msg("Expected accuracy on the unlabelled: {value} ({low} to {high}): too early to say.",
                   value=value, low=low, high=high)  # fmt: skip
    return msg("Expected accuracy on the unlabelled: {value} ({low} to {high}).", value=value, low=low, high=high)


def _question_lines(found: Suggestions) -> list[str]:
    why = {"cluster": msg("typical of a cluster"), "uncertain": msg("unsure"), "diverse": msg("unlike the others")}
    rows = [
        [q.uri, q.cluster, str(why[q.why]), q.label, per_cent(q.probability) if q.probability is not None else None]
        for q in found.questions
    ]
    return table([msg("photograph"), msg("cluster"), msg("because"), msg("proposed"), msg("probability")], rows)


def _proposal_lines(proposals: tuple[BulkProposal, ...]) -> list[str | Message]:
    rows = [
        [p.name, p.label, len(p.sample_ids), per_cent(p.confidence), p.n_agreeing, _names(p.uris[-MOST_SHOWN:])]
        for p in proposals[:MOST_PROPOSALS]
    ]
    head = [msg("proposal"), msg("label"), msg("photographs"), msg("probability"), msg("agree"), msg("least sure")]
    lines: list[str | Message] = [*table(head, rows)]
    if len(proposals) > MOST_PROPOSALS:
        lines.append(msg("… and {n} more; --json lists them.", n=len(proposals) - MOST_PROPOSALS))
    lines.append(msg("Look at the photographs that are named as least sure before you accept."))
    return lines


def _names(uris: tuple[str, ...]) -> str:
    return ", ".join(uri.rsplit("/", 1)[-1] for uri in uris)
