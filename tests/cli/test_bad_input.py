"""Every row of "bad input": a sentence that says what, where and what to do; no traceback; nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mirada.testing import class_folders
from mirada.workspace import FORMAT_VERSION, Workspace

Mirada = Callable[..., object]

ODD_NAMES = ["two words", "ñandú", 'it\'s "quoted"', "🍕", "line\nbreak", "<b>bold&amp;<i>"]


@pytest.fixture
def train(mirada: Mirada, backbone_file: Path) -> Mirada:
    """``train(folder)`` with the tiny backbone."""
    return lambda *argv: mirada("train", *argv, "--backbone", backbone_file)


def assert_sentence(called: object, status: int, *words: str) -> None:
    """Failed with `status` and one sentence with `words`, and a hint."""
    assert called.status == status, called.err
    assert called.out == ""
    assert "Traceback" not in called.err
    assert called.err.startswith("Error: ")
    for word in words:
        assert word in called.err
    assert len(called.err.strip().splitlines()) >= 2, f"no hint: {called.err}"


def test_a_missing_folder(train: Mirada, tmp_path: Path) -> None:
    assert_sentence(train(tmp_path / "nowhere"), 1, "nowhere")
    assert not (tmp_path / "mirada" / "catalog.sqlite-wal").exists()


def test_an_empty_folder(train: Mirada, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert_sentence(train(tmp_path / "empty"), 1, "empty")


def test_one_class(train: Mirada, tmp_path: Path) -> None:
    class_folders(tmp_path / "p", 1, 5, size=24)
    assert_sentence(train(tmp_path / "p"), 1, "class0", "two classes")


def test_a_class_with_one_photograph_is_told_and_trains(train: Mirada, tmp_path: Path) -> None:
    class_folders(tmp_path / "p", 2, 12, size=24)
    class_folders(tmp_path / "p", 1, 1, size=24, class_names=["rare"])
    called = train(tmp_path / "p")
    assert called.status == 0, called.err
    assert "rare" in called.out


def test_no_readable_photograph(train: Mirada, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "p" / name).mkdir(parents=True)
        (tmp_path / "p" / name / "x.jpg").write_text("not a photograph")
    assert_sentence(train(tmp_path / "p"), 1, str(tmp_path / "p"))


def test_two_classes_that_differ_by_case(train: Mirada, tmp_path: Path) -> None:
    class_folders(tmp_path / "p", 3, 3, size=24, class_names=["Food", "food", "other"])
    assert_sentence(train(tmp_path / "p"), 1, "Food", "food")


def test_odd_names_train_and_predict(train: Mirada, mirada: Mirada, tmp_path: Path) -> None:
    made = class_folders(tmp_path / "p", len(ODD_NAMES), 8, size=24, class_names=ODD_NAMES)
    called = train(tmp_path / "p", "--json")
    assert called.status == 0, called.err
    assert sorted(called.document["class_names"]) == sorted(ODD_NAMES)
    report = Path(called.document["report"]).read_text(encoding="utf-8")
    assert "<b>bold" not in report
    path = made["line\nbreak"][0].rename(tmp_path / "odd\n<i>'\".jpg")
    answers = mirada("predict", path, "--json").document
    assert answers[0]["uri"] == str(path)
    assert answers[0]["label"] in ODD_NAMES


def test_a_loop_of_links_is_told_and_not_followed(train: Mirada, tmp_path: Path) -> None:
    class_folders(tmp_path / "p", 2, 6, size=24)
    (tmp_path / "p" / "class0" / "again").symlink_to(tmp_path / "p")
    called = train(tmp_path / "p", "--json")
    assert called.status == 0, called.err
    assert sum(called.document["n"].values()) == 12


def test_a_file_without_permission_is_rejected_with_its_reason(tmp_path: Path) -> None:
    class_folders(tmp_path / "p", 2, 6, size=24)
    (tmp_path / "p" / "class0" / "0000.jpg").chmod(0)
    done = _bound_by_permissions(tmp_path, "add", str(tmp_path / "p"), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rejected_by_reason"] == {"no_permission": 1}


def _bound_by_permissions(home: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run as a user whom permission bits bind, even where the tests run as root."""
    as_root = os.geteuid() == 0
    if as_root and shutil.which("setpriv") is None:
        pytest.skip("root without setpriv: permission bits do not bind")
    drop = ["setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search"] if as_root else []
    command = [*drop, sys.executable, "-m", "mirada", "--workspace", str(home / "w"), *argv]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=home)


def test_a_read_only_workspace(tmp_path: Path) -> None:
    class_folders(tmp_path / "p", 2, 4, size=24)
    Workspace.create(tmp_path / "w")
    for path in (tmp_path / "w").iterdir():
        path.chmod(0o444)
    (tmp_path / "w").chmod(0o555)
    done = _bound_by_permissions(tmp_path, "add", str(tmp_path / "p"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(tmp_path / "w") in done.stderr


def test_a_full_disk_loses_nothing(train: Mirada, mirada: Mirada, tmp_path: Path) -> None:
    """A file-size limit makes every large write fail like a full disk does."""
    class_folders(tmp_path / "p", 2, 30, size=24)
    assert train(tmp_path / "p").status == 0
    class_folders(tmp_path / "p", 1, 400, size=24, class_names=["more"])
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000));"
        "from mirada.cli.main import run; sys.exit(run(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "add", str(tmp_path / "p")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert mirada("add", tmp_path / "p").status == 0
    assert mirada("models", "--json").document[0]["version"] == 1


def test_two_processes_adding_at_once(
    spawn: Callable[..., subprocess.Popen[str]], mirada: Mirada, tmp_path: Path
) -> None:
    class_folders(tmp_path / "p", 2, 300, size=24)
    both = [spawn("add", tmp_path / "p", "--json") for _ in range(2)]
    told = [json.loads(process.communicate(timeout=120)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(one["n"]["added"] for one in told) == 600
    assert mirada("add", tmp_path / "p", "--json").document["n"]["known"] == 600


def test_a_workspace_of_a_later_version(train: Mirada, photos: Path, tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "mirada")
    (workspace.path / "format.json").write_text(json.dumps({"version": FORMAT_VERSION + 1}))
    assert_sentence(train(photos), 1, "format", str(FORMAT_VERSION + 1))


def test_a_bundle_with_a_wrong_hash(train: Mirada, mirada: Mirada, photos: Path, tmp_path: Path) -> None:
    bundle = Path(train(photos, "--json").document["model"]["path"])
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    data = bytearray((copy / "model.onnx").read_bytes())
    data[-1] ^= 1
    (copy / "model.onnx").write_bytes(data)
    photo = next((photos / "class0").iterdir())
    assert_sentence(mirada("predict", photo, "--model", copy), 1, str(copy))
    assert mirada("predict", photo, "--model", bundle).status == 0


def test_an_unknown_backbone(mirada: Mirada, photos: Path) -> None:
    called = mirada("train", photos, "--backbone", "mobilenetv2_10")
    assert called.status == 1
    assert "mobilenetv2_10" in called.err
    assert "Traceback" not in called.err


def test_a_backbone_file_that_is_none(mirada: Mirada, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"not a network")
    assert_sentence(mirada("train", photos, "--backbone", tmp_path / "x.onnx"), 1, "x.onnx")


def test_weights_that_are_missing(mirada: Mirada, photos: Path) -> None:
    called = mirada("train", photos, "--backbone", "mobilenetv2_100", "--weights", "gone.safetensors")
    assert_sentence(called, 1, "gone.safetensors")


@pytest.mark.parametrize("ratios", ["70/30", "a/b/c", "0/50/50", "-1/1/1"])
def test_wrong_ratios(train: Mirada, photos: Path, ratios: str) -> None:
    assert_sentence(train(photos, f"--ratios={ratios}"), 2, ratios)


def test_training_without_photographs(train: Mirada) -> None:
    assert_sentence(train(), 1, "no Mirada workspace")


def test_what_a_resumed_run_would_not_heed_is_refused(mirada: Mirada) -> None:
    assert_sentence(mirada("train", "photos", "--resume", "r", "--epochs", "3"), 2, "--resume", "SOURCE", "--epochs")


def test_predicting_without_a_model(mirada: Mirada, photos: Path, tmp_path: Path) -> None:
    assert_sentence(mirada("predict", photos), 1, str(tmp_path / "mirada"))


def test_an_output_of_unknown_kind(train: Mirada, mirada: Mirada, photos: Path, tmp_path: Path) -> None:
    train(photos)
    assert_sentence(mirada("predict", photos, "-o", tmp_path / "x.xls"), 2, "x.xls", ".csv")


def test_no_such_version(train: Mirada, mirada: Mirada, photos: Path) -> None:
    train(photos)
    assert_sentence(mirada("promote", "9"), 1, "9")
    assert_sentence(mirada("rollback"), 1, "champion")
    assert_sentence(mirada("promote", "1", "--as", "king"), 2, "king", "champion")


def test_a_second_set_of_other_classes(train: Mirada, mirada: Mirada, photos: Path, tmp_path: Path) -> None:
    train(photos)
    class_folders(tmp_path / "other", 2, 3, size=24, class_names=["x", "y"])
    assert_sentence(mirada("evaluate", "--on", tmp_path / "other"), 1, "class0")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.1"])
def test_serving_to_others_without_a_key_is_refused(train: Mirada, mirada: Mirada, photos: Path, host: str) -> None:
    train(photos)
    assert_sentence(mirada("serve", "--host", host), 2, host)
