"""Run an experiment by the command line, step by step, and keep what each step answered.

A folder for each item: `plan.json` (its commands), `NN.json` (what command NN answered, and what it took), `NN.log`
(its stderr), `workspace/` (until the item is done) and `result.json`. A killed run goes on with the first command that
has no answer; Mirada itself takes up a training or a search that was killed inside.
"""

from __future__ import annotations

import csv
import ctypes
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

from experiments_figures import Document, Result, run_of, told_after
from experiments_items import Item
from pydantic import TypeAdapter

from mirada.cli.main import COMMANDS
from mirada.workspace import write_atomic


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where things are: photographs, weights, results. `quick`: one epoch and one seed."""

    data: Path
    weights: Path
    work: Path
    quick: bool = False
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One command, as it is called. seed: None for what prepares. after: it follows a search, and has a {winner}."""

    argv: tuple[str, ...]
    seed: int | None = None
    after: bool = False


class Failed(Exception):
    """A command failed; the text says which and why."""


_RESULT = TypeAdapter(Result)


def network_of(item: Item, place: Place) -> str:
    """The first of its networks whose weights are there; "" where none is, or none is needed."""
    return next((name for name in item.networks if (place.weights / f"{name}.safetensors").is_file()), "")


def obstacle(item: Item, place: Place) -> str:
    """What is missing to run it, as a phrase after "needs"; "" where nothing is."""
    command = item.command.split()[1]
    if command not in COMMANDS:
        return f"the command `mirada {command}`, which this version does not have"
    if not any((place.data / folder).exists() for folder in item.data):
        return item.data_name or f"the photographs `$DATA/{item.data[0]}`"
    if item.networks and not network_of(item, place):
        names = " or ".join(f"`$WEIGHTS/{name}.safetensors`" for name in item.networks)
        return f"the weights {names}"
    return ""


def command_of(item: Item, place: Place) -> str:
    """The command of each seed, or its quick form."""
    if not place.quick or not item.quick:
        return item.command
    return item.quick if item.quick.startswith("mirada ") else f"{item.command} {item.quick}"


def shown(item: Item, place: Place, template: str) -> str:
    """A command as a person would type it."""
    hand = "--sample PHOTO … drop|relabel=CLASS"
    seeds = item.seeds[:1] if place.quick else item.seeds
    seed = str(seeds[0]) if len(seeds) == 1 else "N"
    network = network_of(item, place) or (item.networks[0] if item.networks else "")
    return template.format(
        data="$DATA", weights="$WEIGHTS", network=network, seed=seed, by_hand=hand, winner="WINNER.toml"
    )


def steps(item: Item, place: Place) -> list[Step]:
    """Every command in order. {by_hand} becomes a command for each kind of decision, or none."""
    made = []
    for template in item.prepare:
        if "{by_hand}" in template:
            made += [Step(("decide", *words)) for words in by_hand(place.data / item.data[0])]
        else:
            made.append(Step(_argv(item, place, template)))
    for seed in item.seeds[:1] if place.quick else item.seeds:
        made.append(Step(_argv(item, place, command_of(item, place), seed=seed), seed))
    return [*made, *(Step(_argv(item, place, template), after=True) for template in item.after)]


def _argv(item: Item, place: Place, template: str, *, seed: int = 0) -> tuple[str, ...]:
    values = {
        "data": place.data, "weights": place.weights, "network": network_of(item, place), "seed": seed,
        "winner": "{winner}",
    }  # fmt: skip
    return tuple(word.format(**values) for word in shlex.split(template)[1:])


def by_hand(folder: Path) -> list[list[str]]:
    """Words of `mirada decide` for what truth.csv says a person would see: wrong labels, and what belongs nowhere."""
    truth = folder / "truth.csv"
    if not truth.is_file():
        return []
    found: dict[str, list[str]] = defaultdict(list)
    with truth.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            photo = next((folder / "photos").glob(f"{row['photo_id']}.*"), None)
            if row["kind"] in ("irrelevant", "label") and photo is not None:
                action = "drop" if row["kind"] == "irrelevant" else f"relabel={row['detail']}"
                found[action] += ["--sample", str(photo)]
    return [[*words, action] for action, words in sorted(found.items())]


def folder_of(item: Item, place: Place) -> Path:
    """Where an item keeps its answers."""
    return place.work / item.name


def kept_result(item: Item, place: Place) -> Result | None:
    """What came of the item, where it was run as it stands now (or cannot be run any more); failures included."""
    path = folder_of(item, place) / "result.json"
    if not path.is_file():
        return None
    if not obstacle(item, place) and _plan(folder_of(item, place)) != _wanted(item, place):
        return None
    return _RESULT.validate_json(path.read_bytes())


def n_done(item: Item, place: Place) -> int:
    """How many commands of an unfinished item are done."""
    folder = folder_of(item, place)
    return len(list(folder.glob("[0-9][0-9].json"))) if _plan(folder) == _wanted(item, place) else 0


def _plan(folder: Path) -> object:
    path = folder / "plan.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _wanted(item: Item, place: Place) -> object:
    if obstacle(item, place):
        return []
    places = ((str(place.data), "$DATA"), (str(place.weights), "$WEIGHTS"))

    def without_place(word: str) -> str:
        for path, name in places:
            word = word.replace(path, name)
        return word

    return [[without_place(word) for word in step.argv] for step in steps(item, place)]


def run_item(item: Item, place: Place, *, again: bool = False, say: Callable[[str], None] = print) -> Result:
    """Run what is not done yet, or all of it `again`. A failure is a result too, and tried anew the next time."""
    folder = folder_of(item, place)
    if again or _plan(folder) != _wanted(item, place):
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "plan.json", _wanted(item, place))
    facts = machine(place.work)
    told: list[tuple[Step, Document]] = []
    try:
        for i, step in enumerate(steps(item, place)):
            winner = str(told[-1][1]["document"]["winner_recipe"]) if step.after else ""
            argv = [word.replace("{winner}", winner) for word in step.argv]
            told.append((step, _execute(argv, folder, i, say=say)))
        runs = tuple(run_of(item.kind, step.seed, answer) for step, answer in told if step.seed is not None)
        words = tuple(told_after(answer) for step, answer in told if step.after)
        runs = (*runs[:-1], replace(runs[-1], told=(*runs[-1].told, *words)))
        result = Result(
            name=item.name, day=time.strftime("%d %B %Y"), machine=facts, network=network_of(item, place), runs=runs
        )
    except Failed as error:
        result = Result(name=item.name, day=time.strftime("%d %B %Y"), machine=facts, failure=str(error))
    _write(folder / "result.json", asdict(result))
    if not place.keep and not result.failure:
        shutil.rmtree(folder / "workspace", ignore_errors=True)  # gigabytes: weights and pixels of every seed
    return result


def _execute(argv: Sequence[str], folder: Path, number: int, *, say: Callable[[str], None]) -> Document:
    """The answer of a command, kept or fresh: {"seconds", "load", "interrupted", "document"}."""
    kept, begun = folder / f"{number:02d}.json", folder / f"{number:02d}.begun"
    if kept.is_file():
        return cast("Document", json.loads(kept.read_text(encoding="utf-8")))
    interrupted = begun.exists()
    begun.touch()
    say(f"  mirada {shlex.join(argv)[:150]}")
    load, started = os.getloadavg()[0], time.perf_counter()
    with (folder / f"{number:02d}.log").open("ab") as log:
        done = _mirada(["--workspace", str(folder / "workspace"), *argv, "--json"], log)
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        begun.unlink()
        raise Failed(f"`mirada {argv[0]}` ended with status {done.returncode}: {_why(done.stdout)}")
    answer = {
        "argv": list(argv), "seconds": round(seconds, 2), "load": round(load, 2), "interrupted": interrupted,
        "document": json.loads(done.stdout),
    }  # fmt: skip
    _write(kept, answer)
    begun.unlink()
    return answer


def _mirada(argv: Sequence[str], log: Any) -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, "MIRADA_LANG": "en", "MIRADA_TRACK_ENABLED": "false"}
    return subprocess.run(
        [sys.executable, "-m", "mirada", *argv], stdout=subprocess.PIPE, stderr=log, env=env, check=False,
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )  # fmt: skip


def _die_with_parent() -> None:
    """Without it a training would outlive the killed program, and the next call would begin a second one beside it."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _why(stdout: bytes) -> str:
    try:
        return str(json.loads(stdout)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return "the log of the command says more"


def _write(path: Path, document: object) -> None:
    write_atomic(path, json.dumps(document, ensure_ascii=False, indent=1).encode())


@cache
def machine(work: Path) -> dict[str, str]:
    """Processor, cores, number format and versions, from `mirada doctor` and the system."""
    with (work / "doctor.log").open("ab") as log:
        told = json.loads(_mirada(["doctor", "--json"], log).stdout)
    facts = {"processor": _processor(), "cores": str(told["cores"]), "precision": str(told["precision"])}
    if gpu := _gpu():
        facts["gpu"] = gpu
    python = f"Python {platform.python_version()}"
    versions = [f"Mirada {told['mirada']}", python, f"OpenVINO {told['openvino']}", str(told["extra train"])]
    return {**facts, "versions": ", ".join(versions)}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _gpu() -> str:
    if shutil.which("nvidia-smi") is None:
        return ""
    asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stdout.strip().replace("\n", ", ") if done.returncode == 0 else ""
