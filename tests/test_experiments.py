"""tools/experiments.py: a quick run of it, what it takes up again, and the page it writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mirada.evaluate.intervals import wilson
from mirada.models.recipes import recipe_names
from mirada.testing import class_folders

TOOLS = Path(__file__).parents[1] / "tools"


@pytest.fixture(scope="module")
def tool() -> Iterator[dict[str, ModuleType]]:
    """The modules of the tool, which lies beside the package and not in it."""
    sys.path.insert(0, str(TOOLS))
    try:
        import experiments
        import experiments_figures
        import experiments_items
        import experiments_page
        import experiments_run

        yield {
            "main": experiments, "figures": experiments_figures, "items": experiments_items,
            "page": experiments_page, "run": experiments_run,
        }  # fmt: skip
    finally:
        sys.path.remove(str(TOOLS))


def _place(tool: dict[str, ModuleType], tmp_path: Path, **more: Any) -> Any:
    return tool["run"].Place(data=tmp_path / "data", weights=tmp_path / "weights", work=tmp_path / "work", **more)


def _light(tool: dict[str, ModuleType], **more: Any) -> Any:
    """An item of two commands that need no torch."""
    given = {
        "name": "light", "report": 5, "title": "Light", "did": "Little.", "claim": tool["items"].Claim(share=0.5),
        "prepare": ("mirada add {data}/photos",), "command": "mirada train --recipe fast --seed {seed}",
        "data": ("photos",), "minutes": 1, **more,
    }  # fmt: skip
    return tool["items"].Item(**given)


def test_a_quick_run_trains_and_writes_a_page_that_says_so(
    tool: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIRADA_SHARED", str(tmp_path / "nowhere"))
    before = tool["main"].PAGE.read_bytes() if tool["main"].PAGE.is_file() else b""
    names = ["cifar10-cnn", "cifar100-cnn", "sports-frozen"]
    assert tool["main"].main(["--quick", "--work", str(tmp_path / "w"), "--only", *names]) == 0
    text = (tmp_path / "w" / "quick" / "experiments.md").read_text(encoding="utf-8")
    assert text.splitlines()[2] == "# Quick run of the experiments: not results"
    row = next(line for line in text.splitlines() if line.startswith("| [3. A CNN for CIFAR-10]"))
    assert "n = 24)" in row
    assert "| 1,339,427, 1,338,531 | 1, 1 | all epochs |" in text, "three classes instead of ten"
    assert "not run here: needs CIFAR-100" in text
    assert "not run here: needs the weights `$WEIGHTS/mobilenetv2_100.safetensors`" in text
    assert str(tmp_path) not in text
    assert not (tmp_path / "w" / "quick" / "cifar10-cnn" / "workspace").exists()
    assert (tool["main"].PAGE.read_bytes() if tool["main"].PAGE.is_file() else b"") == before
    with pytest.raises(SystemExit, match="no result"):
        tool["main"].main(["--quick", "--page-only", "--work", str(tmp_path / "w"), "--page", str(tool["main"].PAGE)])


def test_what_is_done_is_not_done_again_after_an_interruption(tool: dict[str, ModuleType], tmp_path: Path) -> None:
    class_folders(tmp_path / "data" / "photos", 2, 12, size=32)
    item, place, called = _light(tool), _place(tool, tmp_path), list[str]()

    def interrupted(line: str) -> None:
        called.append(line.split()[1])
        if called == ["add", "train"]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tool["run"].run_item(item, place, say=interrupted)
    assert tool["run"].n_done(item, place) == 1
    assert tool["run"].kept_result(item, place) is None
    added = (place.work / "light" / "00.json").stat().st_mtime_ns
    result = tool["run"].run_item(item, place, say=called.append)
    assert [line for line in called[2:] if "add" in line] == []
    assert (place.work / "light" / "00.json").stat().st_mtime_ns == added
    assert result.failure == ""
    assert result.runs[0].interrupted is True
    assert result.runs[0].accuracy.n == result.runs[0].n["test"] > 0
    assert tool["run"].kept_result(item, place) == result
    other = _light(tool, command="mirada train --recipe fast --flips --seed {seed}")
    assert tool["run"].kept_result(other, place) is None, "a result of other commands is not this one's"


def test_a_failure_is_told_and_tried_again(tool: dict[str, ModuleType], tmp_path: Path) -> None:
    class_folders(tmp_path / "data" / "photos", 2, 8, size=32)
    item, place = _light(tool, prepare=(), command="mirada train {data}/photos --recipe fats"), _place(tool, tmp_path)
    result = tool["run"].run_item(item, place, say=lambda _: None)
    assert "status 2: There is no recipe called fats." in result.failure
    text = tool["page"].page({"choose-fast": result}, place)
    row = next(line for line in text.splitlines() if line.startswith("| [`fast`, on the sports]"))
    assert "failed here: `mirada train` ended with status 2" in row


def test_killed_it_takes_its_command_along_and_counts_what_is_done(tool: dict[str, ModuleType], tmp_path: Path) -> None:
    work = tmp_path / "w"
    argv = [sys.executable, str(TOOLS / "experiments.py"), "--quick", "--work", str(work), "--only", "restaurant-grey"]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    folder, begun = work / "quick" / "restaurant-grey", time.monotonic()
    while not (folder / "01.begun").exists() and process.poll() is None and time.monotonic() < begun + 100:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)
    assert process.returncode == -signal.SIGKILL
    assert json.loads((folder / "00.json").read_text())["document"]["n"]["added"] == 36
    assert not (folder / "result.json").exists()
    if sys.platform == "linux":
        deadline = time.monotonic() + 10
        while _of(folder) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert _of(folder) == [], "a command outlived the killed program"
    place = tool["run"].Place(
        data=work / "quick" / "photographs", weights=tmp_path / "no", work=work / "quick", quick=True
    )
    assert tool["run"].n_done(tool["items"].BY_NAME["restaurant-grey"], place) == 1


def _of(folder: Path) -> list[str]:
    """Processes that work in `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(folder) in words and str(os.getpid()) != process.parent.name:
            found.append(words)
    return found


def test_every_item_can_be_named_and_uses_what_exists(tool: dict[str, ModuleType], tmp_path: Path) -> None:
    items, place = tool["items"].ITEMS, _place(tool, tmp_path)
    assert len({item.name for item in items}) == len({item.title for item in items}) == len(items)
    assert {item.report for item in items} == set(tool["items"].REPORTS)
    for item in items:
        for step in tool["run"].steps(item, place):
            words = step.argv
            assert "{" not in " ".join(words).replace("{winner}", "")
            if "--recipe" in words and not step.after:
                assert words[words.index("--recipe") + 1] in recipe_names()
        assert (item.report == 0) or item.claim.share or item.claim.more or item.name == "tags-fast"


def test_what_a_person_decided_becomes_commands(tool: dict[str, ModuleType], tmp_path: Path) -> None:
    folder = tmp_path / "data" / "restaurant_dirty"
    (folder / "photos").mkdir(parents=True)
    for name in ("a.jpg", "b.png", "c.jpg"):
        (folder / "photos" / name).touch()
    rows = ["photo_id,kind,detail", "a,irrelevant,", "b,label,drink", "c,exact_duplicate,a", "gone,irrelevant,"]
    (folder / "truth.csv").write_text("\n".join(rows))
    photos = folder / "photos"
    assert tool["run"].by_hand(folder) == [
        ["--sample", str(photos / "a.jpg"), "drop"], ["--sample", str(photos / "b.png"), "relabel=drink"]
    ]  # fmt: skip
    assert tool["run"].by_hand(tmp_path) == []


def test_figures_of_seeds_are_one_test_wide(tool: dict[str, ModuleType]) -> None:
    figures = tool["figures"]
    runs = [
        figures.Run(seed=i, seconds=60, load=0.5, accuracy=figures.Figure(value=k / 75, low=0, high=1, n=75))
        for i, k in enumerate((66, 69, 72))
    ]
    mean, alone = figures.mean_accuracy(runs), wilson(69, 75)
    assert (mean.value, mean.n) == (pytest.approx(69 / 75), 75)
    assert (mean.low, mean.high) == (pytest.approx(alone.low), pytest.approx(alone.high))
    assert figures.mean_accuracy([figures.Run(seed=0, seconds=1, load=0)]) is None


def test_the_page_holds_what_the_commands_told(tool: dict[str, ModuleType], tmp_path: Path) -> None:
    metric = {"value": 0.92, "low": 0.8377, "high": 0.9634, "n": 75}
    trial = {
        "number": 3, "params": {"stage.optimizer+stage.lr": ["sgd", 0.01], "model.hidden": [512, 256]},
        "accuracy": {**metric, "value": 0.55, "n": 5000}, "n_parameters": 1000, "best_epoch": 9, "epochs": 50,
    }  # fmt: skip
    documents = {
        "search": {"trials": [trial], "winner": 3, "tied": [1, 2], "n_trials": 27, "n_epochs": 1350},
        "folds": {"metrics": {"accuracy": metric}, "fold_seconds": [70.2, 71.0], "comparison": {
            "difference": {"value": 0.021, "low": 0.01, "high": 0.03}, "verdict": "a better", "p_value": 0.001,
            "only_a": 60, "only_b": 12}},
        "look": [{"uri": f"/p/tennis/{i}.jpg", "error": None, "top_k": [{"label": "racket"}]} for i in range(4)],
    }  # fmt: skip
    of_item = {"search": "tags-grid", "folds": "folds-deit", "look": "sports-look"}
    results = {}
    for kind, document in documents.items():
        answer = {"seconds": 754.0, "load": 0.3, "interrupted": False, "document": document}
        run = tool["figures"].run_of(kind, 0, answer)
        machine = {"processor": "Some", "cores": "2", "precision": "bf16", "versions": "Mirada 0"}
        made = tool["figures"].Result(name=of_item[kind], day="1 January 2026", machine=machine, runs=(run,))
        results[of_item[kind]] = made
    text = tool["page"].page(results, _place(tool, tmp_path))
    assert "27 networks and 1,350 epochs in all; the best has optimizer sgd, hidden 512-256." in text
    assert "2 others are tied" in text
    assert "55.00 % on val" in text
    assert "it is better: a difference of +2.1 points (+1.0 to +3.0), 60 photographs right by it alone and 12" in text
    assert "tennis: racket (4 of 4)" in text
    after = tool["figures"].told_after({"document": {"test": {"accuracy": metric}}})
    assert "92.00 % of 75 test photographs right (83.77 to 96.34)" in after
    assert "| 13 min |" in text
    assert "90.67 % on 75 test photographs (82.0 to 95.4)" in text
    assert "best of all its networks on the photographs that chose it" in text
    assert text.count("not run here") >= 15
