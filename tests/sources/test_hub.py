"""The hub's own protocol, as far as fetching a data set needs it, on a server of this machine."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mirada.errors import InputError, MissingExtra, NotFound, Unavailable, UsageError
from mirada.sources import hub
from mirada.sources.base import detect
from mirada.sources.reader import PhotoReader

Encode = Callable[..., bytes]


class Hub:
    """Files by "repository@revision", served as huggingface.co would: a revision is resolved to a commit first."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.n_downloads = 0

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        parts = unquote(urlsplit(path).path).strip("/").split("/")
        if parts[:2] == ["api", "datasets"]:
            return self._listing("/".join(parts[2:4]), parts[4], "/".join(parts[5:]))
        data = self._at("/".join(parts[1:3]), parts[4])[1].get("/".join(parts[5:]))
        if data is None:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        return 200, {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": parts[4]}, data

    def _listing(self, repo: str, what: str, revision: str) -> tuple[int, dict[str, str], bytes]:
        commit, files = self._at(repo, revision)
        if not commit:
            known = any(key.startswith(f"{repo}@") for key in self.files)
            return 404, {"X-Error-Code": "RevisionNotFound" if known else "RepoNotFound"}, b"{}"
        if what == "tree":
            rows = [{"type": "file", "path": name, "size": len(data), "oid": "0" * 40} for name, data in files.items()]
            return 200, {}, json.dumps(rows).encode()
        siblings = [{"rfilename": name} for name in files]
        return 200, {}, json.dumps({"id": repo, "sha": commit, "siblings": siblings}).encode()

    def _at(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]]:
        """(commit, files) of a revision or commit; ("", {}) where there is none."""
        for key, files in self.files.items():
            commit = hashlib.sha256(key.encode()).hexdigest()[:40]
            if key == f"{repo}@{revision}" or (key.startswith(f"{repo}@") and commit == revision):
                return commit, files
        return "", {}


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    constants = pytest.importorskip("huggingface_hub.constants")
    content = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = content.answer(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                content.n_downloads += "/resolve/" in self.path
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

        def log_message(self, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    hub.local_file.cache_clear()
    yield content
    server.shutdown()
    thread.join()
    server.server_close()
    hub.local_file.cache_clear()


def parquet(tmp_path: Path, photos: list[bytes]) -> bytes:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([{"bytes": data, "path": f"{i}.jpg"} for i, data in enumerate(photos)], kind)
    pq.write_table(pa.table({"image": images, "label": ["cat", "dog"] * (len(photos) // 2)}), tmp_path / "made.parquet")
    return (tmp_path / "made.parquet").read_bytes()


def test_a_data_set_on_the_hub(served: Hub, tmp_path: Path, encoded: Encode) -> None:
    data = [encoded(i) for i in range(4)]
    served.files["owner/pets@main"] = {
        "README.md": b"# Pets",
        "data/train-00000-of-00001.parquet": parquet(tmp_path, data[:2]),
        "data/test-00000-of-00001.parquet": parquet(tmp_path, data[2:]),
    }
    source = detect("hf://owner/pets")
    assert (source.name, source.describe().format) == ("hf://owner/pets", "hub")
    photos = list(source.photos())
    assert photos[2].uri == "hf://owner/pets/data/train-00000-of-00001.parquet#0/0.jpg"
    assert [(photo.label, photo.split) for photo in photos] == [
        ("cat", "test"), ("dog", "test"), ("cat", "train"), ("dog", "train"),
    ]  # fmt: skip
    reader = PhotoReader()
    assert [reader.read(photo.uri) for photo in photos] == [*data[2:], *data[:2]]
    assert served.n_downloads == 2
    assert detect("hf://datasets/owner/pets").signature() == source.signature()
    assert served.n_downloads == 2


def test_the_hubs_own_conversion(served: Hub, tmp_path: Path, encoded: Encode) -> None:
    served.files["owner/raw@main"] = {"photos.zip": b"zip"}
    served.files["owner/raw@refs/convert/parquet"] = {
        "default/train/0000.parquet": parquet(tmp_path, [encoded(0), encoded(1)])
    }
    source = detect("hf://owner/raw")
    assert source.name == "hf://owner/raw@refs%2Fconvert%2Fparquet"
    photo = next(source.photos())
    assert photo.uri == f"{source.name}/default/train/0000.parquet#0/0.jpg"
    assert PhotoReader().read(photo.uri) == encoded(0)


def test_what_cannot_be_had_is_a_sentence(served: Hub, tmp_path: Path, encoded: Encode) -> None:
    with pytest.raises(NotFound, match="no data set hf://owner/none"):
        detect("hf://owner/none")
    with pytest.raises(UsageError, match="not the address of a data set"):
        detect("hf://pets")
    one = parquet(tmp_path, [encoded(0), encoded(1)])
    served.files["owner/two@main"] = {"a/train/0.parquet": one, "b/train/0.parquet": one}
    with pytest.raises(InputError, match="several data sets: a, b"):
        detect("hf://owner/two")


def test_no_network_and_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(Unavailable, match="cannot be reached"):
        detect("hf://owner/pets")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match="pip install huggingface_hub"):
        detect("hf://owner/pets")
