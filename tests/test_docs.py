"""What the documents say holds: commands run, Python runs, links lead somewhere, tables are complete.

The convention: in a ```console block a line that begins with ``$ `` is a command and everything else is what it
prints. The commands and the ```python blocks of a page run in order, in one scratch folder. Lines that set a machine
up need a network and minutes; they are held against the Makefile and pyproject.toml instead.
"""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mirada import errors
from mirada.cli.main import COMMANDS, run
from mirada.config import SETTINGS
from mirada.embed.backbone import SHIPPED_PATH
from mirada.testing import class_folders, photo

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.es.md")
# README.es.md is not among them: a test below says that it holds the commands of README.md.
WALKS = (
    "README.md", "docs/first-steps.md", "docs/library.md", "docs/cleaning.md", "docs/labels.md", "docs/subsets.md",
    "docs/checks.md", "docs/training.md",
)  # fmt: skip
PAGES = sorted([*(ROOT / name for name in READMES), ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
CLASSES = ("drink", "food", "menu")


@dataclass(frozen=True)
class Step:
    """A command line or a Python block, and where it stands."""

    kind: str
    text: str
    where: str

    @property
    def meaning(self) -> str:
        """The step without what may be translated: the comments of a Python block."""
        return ast.dump(ast.parse(self.text)) if self.kind == "python" else self.text


def steps(page: str) -> list[Step]:
    """The commands and Python blocks of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found: list[Step] = []
    for fence in FENCE.finditer(text):
        line = text.count("\n", 0, fence.start()) + 2
        if fence[1] == "python":
            found.append(Step("python", fence[2], f"{page}:{line}"))
        elif fence[1] == "console":
            lines = enumerate(fence[2].splitlines(), line)
            found += [Step("command", each[2:], f"{page}:{n}") for n, each in lines if each.startswith("$ ")]
    return found


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


@dataclass
class Walk:
    """A person at a terminal who types what a page says. `go_to` changes folder for the length of the test."""

    folder: Path
    go_to: Callable[[Path], None]
    names: dict[str, object] = field(default_factory=dict)
    server: subprocess.Popen[str] | None = None
    url: str = ""

    def take(self, step: Step) -> None:
        """One step. Raises AssertionError where it fails."""
        if step.kind == "python":
            if "ImageClassifier(" in step.text and not SHIPPED_PATH.is_file():
                return  # it reads no settings, so `tiny_default` cannot give it a backbone
            exec(compile("\n" * int(step.where.rpartition(":")[2]) + step.text, step.where, "exec"), self.names)
            return
        words = shlex.split(step.text)
        act = {"mirada": self.mirada, "make": self.make, "cd": self.cd, "curl": self.curl}.get(words[0], self.set_up)
        act(words, step.where)

    def mirada(self, words: list[str], where: str) -> None:
        if words[1] == "serve":
            self.serve(words)
            return
        fewer = ["--n", "100"] if words[1:] == ["demo"] else []
        assert run([*words[1:], *fewer]) == 0, f"{where}: {shlex.join(words)}"

    def make(self, words: list[str], where: str) -> None:
        recipes = recipe(words[1])
        assert recipes, f"{where}: the Makefile has no target {words[1]}"
        if words[1] == "demo":
            assert recipes == [".venv/bin/mirada demo"]
            assert "core" in prerequisites("demo")

    def cd(self, words: list[str], where: str) -> None:
        self.folder = self.folder / words[1]
        assert self.folder.is_dir(), where
        self.go_to(self.folder)

    def serve(self, words: list[str]) -> None:
        """Start the server on a free port and ask it once."""
        self.server = subprocess.Popen(
            [sys.executable, "-m", *words], stderr=subprocess.PIPE, text=True,
            env={**os.environ, "MIRADA_SERVE_PORT": "0"},
        )  # fmt: skip
        assert self.server.stderr is not None
        told = ""
        while (found := re.search(r"http://\S+?:\d+", told)) is None:
            line = self.server.stderr.readline()
            assert line, told
            told += line
        self.url = found[0]
        with urllib.request.urlopen(self.url, timeout=20) as answer:
            assert answer.status == 200
            assert "<form" in answer.read().decode()

    def curl(self, words: list[str], where: str) -> None:
        if shutil.which("curl") is None:
            pytest.skip("curl is not installed")
        assert self.url, f"{where}: nothing is served yet"
        words = [word.replace("http://127.0.0.1:8000", self.url) for word in words]
        answer = subprocess.run([*words, "-sS", "--fail-with-body"], capture_output=True, text=True, timeout=30)
        assert answer.returncode == 0, f"{where}: {answer.stdout} {answer.stderr}"
        assert answer.stdout, where

    def set_up(self, words: list[str], where: str) -> None:
        """Lines that are checked and not run. A line of no known kind fails."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        extras = project["project"]["optional-dependencies"]
        match words:
            case ["python3", "-m", "venv", ".venv"] | ["source", ".venv/bin/activate"] | ["pip", "install", "."]:
                assert ".venv/bin/pip install" in " ".join(recipe("$(UV)"))
            case ["pip", "install", wanted] if wanted.startswith(".["):
                assert wanted[2:-1] in extras, where
            case ["uv", "sync", "--extra", extra]:
                assert extra in extras, where
            case ["mlflow", "ui", *_]:
                scripts = importlib.metadata.entry_points(group="console_scripts")
                assert "mlflow" in scripts.names, where
            case _:
                raise AssertionError(f"{where}: this test does not know how to run `{shlex.join(words)}`")

    def stop(self) -> None:
        """Stop the server as a person does, with Ctrl+C."""
        if self.server is not None:
            self.server.send_signal(signal.SIGINT)
            try:
                self.server.communicate(timeout=20)
            finally:
                self.server.kill()
            assert self.server.returncode in (0, 130, -signal.SIGINT)


def rules() -> dict[str, tuple[str, list[str]]]:
    """The Makefile: target → (prerequisites, recipe)."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = re.finditer(r"^([$()\w.-]+):(?!=)([^\n]*)\n((?:\t[^\n]*\n)*)", text + "\n", re.MULTILINE)
    return {rule[1]: (rule[2], [line.strip() for line in rule[3].splitlines()]) for rule in found}


def recipe(target: str) -> list[str]:
    return rules().get(target, ("", []))[1]


def prerequisites(target: str) -> str:
    return rules()[target][0]


@pytest.fixture
def walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Walk]:
    """A scratch folder with the photographs that the pages speak of, and a person in it."""
    class_folders(tmp_path / "photos", len(CLASSES), 25, size=64, class_names=CLASSES)
    class_folders(tmp_path / "second-set", len(CLASSES), 6, size=64, seed=5, class_names=CLASSES)
    (tmp_path / "new").mkdir()
    for look, name in enumerate(("glass.jpg", "plate.jpg")):
        (tmp_path / "new" / name).write_bytes(photo(seed=9, look=2 * look))
    monkeypatch.setenv("MIRADA_TRACK_ENABLED", "false")
    monkeypatch.setenv("MIRADA_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    walk = Walk(tmp_path, monkeypatch.chdir)
    yield walk
    walk.stop()


@pytest.mark.parametrize("page", WALKS)
def test_every_command_and_python_block_runs(page: str, walk: Walk) -> None:
    found = steps(page)
    assert len(found) >= 5
    for step in found:
        walk.take(step)


def test_the_readmes_hold_the_same_commands() -> None:
    english, spanish = (steps(page) for page in READMES)
    assert [step.meaning for step in spanish] == [step.meaning for step in english]


def test_the_readmes_have_the_same_shape() -> None:
    english, spanish = ((ROOT / page).read_text(encoding="utf-8") for page in READMES)
    for mark in ("\n## ", "\n### ", "\n| ", "\n- ", "\n!["):
        assert spanish.count(mark) == english.count(mark), repr(mark)
    links = [{a or b for a, b in LINK.findall(text)} - set(READMES) for text in (english, spanish)]
    assert links[0] == links[1]


@pytest.mark.parametrize("page", READMES)
def test_a_readme_names_every_command(page: str) -> None:
    text = prose(ROOT / page)
    assert [name for name in COMMANDS if f"`mirada {name}" not in text] == []


def test_pages_made_from_the_code_are_up_to_date() -> None:
    made = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "make_docs.py"), "--check"], capture_output=True, text=True, timeout=60
    )
    assert made.returncode == 0, made.stdout + made.stderr


def test_every_command_setting_and_error_is_documented() -> None:
    commands, settings, codes = (
        (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("commands.md", "settings.md", "errors.md")
    )
    assert [name for name in COMMANDS if f"## mirada {name}\n" not in commands] == []
    assert [s.name for s in SETTINGS if f"| `{s.name}` | `{s.env}` |" not in settings] == []
    assert [name for name in errors.__all__ if f"| `{getattr(errors, name).code}` |" not in codes] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    targets = [a or b for a, b in LINK.findall(prose(page))]
    dead = []
    for target in targets:
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        aim = page.parent / path if path else page
        if not aim.exists() or (anchor and anchor not in anchors(aim)):
            dead.append(target)
    assert dead == []


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub spells them in addresses."""
    heads = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_pictures_are_small() -> None:
    pictures = list((ROOT / "docs" / "images").glob("*.png"))
    assert {picture.name for picture in pictures} >= {"report.png", "upload.png"}
    assert [picture.name for picture in pictures if picture.stat().st_size > 300_000] == []
