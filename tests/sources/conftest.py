"""Real small photographs for the tests of sources."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Encode = Callable[..., bytes]
Make = Callable[..., Path]


@pytest.fixture(scope="session")
def encoded() -> Encode:
    """``encoded(seed, fmt="JPEG", size=(24, 16))``: the bytes of a photograph that differs by seed."""

    def make(seed: int = 0, fmt: str = "JPEG", size: tuple[int, int] = (24, 16)) -> bytes:
        coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(buffer, fmt)
        return buffer.getvalue()

    return make


@pytest.fixture
def make_tree(tmp_path: Path, encoded: Encode) -> Make:
    """``make_tree("cat/1.jpg", "dog/2.png", root="photos")``: a folder with these files; photographs differ."""

    def make(*names: str, root: str = "photos") -> Path:
        folder = tmp_path / root
        folder.mkdir(exist_ok=True)
        for i, name in enumerate(names):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                path.mkdir(exist_ok=True)
            elif path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"):
                kind = {"jpg": "JPEG", "jpeg": "JPEG"}.get(path.suffix.lower()[1:], path.suffix[1:].upper())
                path.write_bytes(encoded(i, kind))
            else:
                path.write_text("not a photograph")
        return folder

    return make
