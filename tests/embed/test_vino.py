"""OpenVINO comes without its telemetry, and everything gets it through one door."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import mirada


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_starts_no_telemetry() -> None:
    out = run(
        "import sys, threading\nfrom mirada.embed import vino\nov = vino.load_openvino()\n"
        "print([m for m in sys.modules if m.startswith('openvino_telemetry.') or m.startswith('openvino.tools')])\n"
        "print(threading.active_count(), vino.load_openvino() is ov)\n"
    )
    assert out.splitlines() == ["[]", "1 True"]


def test_the_converter_can_still_be_had() -> None:
    out = run(
        "import sys\nfrom mirada.embed import vino\nvino.load_openvino()\n"
        "from openvino.tools.ovc import convert_model\n"
        "print(callable(convert_model), 'openvino_telemetry.main' in sys.modules)\n"
    )
    assert out.split() == ["True", "False"]


def test_nothing_else_imports_openvino() -> None:
    root = Path(mirada.__file__).parent
    plain = re.compile(r"^\s*(import openvino|from openvino)", re.MULTILINE)
    files = [path for path in root.rglob("*.py") if plain.search(path.read_text(encoding="utf-8"))]
    assert [path.name for path in files] == ["vino.py"]


def test_light_imports_stay_light() -> None:
    out = run(
        "import sys\nimport mirada.embed.backbone, mirada.embed.embed, mirada.embed.cache, mirada.embed.network\n"
        "print([m for m in ('openvino', 'onnx', 'torch', 'timm', 'sklearn', 'scipy') if m in sys.modules])\n"
    )
    assert out.strip() == "[]"


def test_device_has_a_name() -> None:
    from mirada.embed import vino

    assert vino.device_name()
    assert vino.runtime_version()[0].isdigit()
