"""The API against a real server: answers, and every wrong request in the one error shape."""

from __future__ import annotations

import concurrent.futures
import json
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from mirada.catalog.catalog import Catalog
from mirada.config import Config
from mirada.errors import NotFound, UsageError
from mirada.predict.runtime import Predictor
from mirada.serve.app import create_app
from mirada.testing.models import COLOURS, colour_photo, tiny_bundle
from mirada.workspace import Workspace

Run = Callable[[FastAPI], AbstractContextManager[httpx.Client]]


def is_error(response: httpx.Response, status: int, code: str | None = None) -> dict[str, str]:
    """Check the one shape, and that the server still answers good requests."""
    assert response.status_code == status, response.text
    body = response.json()
    assert list(body) == ["error"]
    assert set(body["error"]) == {"code", "message", "hint"}
    assert body["error"]["message"]
    assert response.headers["x-content-type-options"] == "nosniff"
    if code is not None:
        assert body["error"]["code"] == code
    return dict(body["error"])


def test_predict(client: httpx.Client, bundle_path: Path) -> None:
    predictor = Predictor.open(bundle_path)
    photo = colour_photo("blue", seed=4)
    expected = predictor.predict_bytes([photo])[0]
    [answer] = client.post("/api/predict", files={"file": ("plate ñ.jpg", photo)}).json()
    assert list(answer) == ["id", "filename", "model", "predictions", "rejected"]
    assert answer["filename"] == "plate ñ.jpg"
    assert answer["model"] == {"name": "colours", "version": 1}
    assert [one["label"] for one in answer["predictions"]] == [scored.label for scored in expected.top_k]
    assert answer["predictions"][0]["score"] == pytest.approx(expected.score, abs=1e-6)
    assert answer["rejected"] is False
    [one] = client.post("/api/predict?top_k=1", content=photo, headers={"content-type": "image/jpeg"}).json()
    assert one["predictions"] == answer["predictions"][:1]
    for headers in ({}, {"content-type": "application/octet-stream"}):
        [raw] = client.post("/api/predict", content=photo, headers=headers).json()
        assert raw["predictions"] == answer["predictions"]
        assert raw["filename"] == ""


def test_several_photographs(client: httpx.Client) -> None:
    files = [("file", (f"{colour}.png", colour_photo(colour, kind="PNG"))) for colour in COLOURS]
    files.insert(1, ("file", ("notes.txt", b"no photograph")))
    answers = client.post("/api/predict", files=files).json()
    assert [answer["filename"] for answer in answers] == ["blue.png", "notes.txt", "green.png", "red.png"]
    assert answers[1]["error"]["code"] == "not_an_image"
    assert answers[1]["predictions"] == []
    labels = [answer["predictions"][0]["label"] for answer in answers if answer["predictions"]]
    assert labels == list(COLOURS)


def test_the_same_under_load(client: httpx.Client, bundle_path: Path) -> None:
    photos = [colour_photo(list(COLOURS)[i % 3], seed=i) for i in range(48)]
    expected = [answer.score for answer in Predictor.open(bundle_path).predict_bytes(photos)]

    def ask(photo: bytes) -> float:
        return float(client.post("/api/predict", files={"file": ("a.jpg", photo)}).json()[0]["predictions"][0]["score"])

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, photos)) == pytest.approx(expected, abs=1e-6)


def bomb() -> bytes:
    """A sound PNG of 40,000 × 40,000 pixels in 1 MB: 4.8 GB as RGB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(1)
    rows = bytes(400 * (1 + 40_000 // 8))
    data = b"".join([packer.compress(rows) for _ in range(100)]) + packer.flush()
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"content": b""}, 400, "empty_body"),
        ({"content": b"hello"}, 415, "not_an_image"),
        ({"content": b"hello", "headers": {"content-type": "text/plain"}}, 415, "unsupported_media_type"),
        ({"json": {"key": "a.jpg"}}, 415, "unsupported_media_type"),
        ({"files": {"file": ("a.jpg", b"")}}, 415, "empty"),
        ({"files": {"photo": ("a.jpg", b"x")}}, 422, "bad_input"),
        ({"data": {"file": "text"}, "files": {"other": ("a", b"x")}}, 422, "bad_input"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "bad_form"),
        ({"content": b"xx", "headers": {"content-type": "multipart/form-data; boundary=b"}}, 400, "bad_form"),
        ({"content": colour_photo(size=(500, 400))[:3000]}, 415, "truncated"),
        ({"content": bomb()}, 413, "too_many_pixels"),
        ({"content": b"\xff\xd8\xff" + b"0" * 2_000_001}, 413, "too_large"),
        ({"content": iter([b"\xff\xd8\xff" + b"0" * 1_500_000] * 3)}, 413, "too_large"),
        ({"files": [("file", (f"{i}.jpg", b"x")) for i in range(9)]}, 413, "too_large"),
        ({"files": [("file", (f"{i}.jpg", b"x")) for i in range(500)]}, 413, "too_large"),
        ({"params": {"top_k": "x"}, "content": b"x"}, 422, "bad_input"),
        ({"params": {"top_k": "0"}, "content": b"x"}, 422, "bad_input"),
    ],
)
def test_bad_requests(client: httpx.Client, request_: dict[str, Any], status: int, code: str) -> None:
    is_error(client.post("/api/predict", **request_), status, code)
    good = client.post("/api/predict", content=colour_photo())
    assert good.json()[0]["predictions"][0]["label"] == "red"


def test_a_huge_body_is_refused_unread(client: httpx.Client) -> None:
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=10) as raw:
        raw.sendall(b"POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000000\r\n\r\n")
        answer = raw.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"too_large"' in answer


def test_unknown_paths_and_methods(client: httpx.Client) -> None:
    is_error(client.get("/nope"), 404, "not_found")
    is_error(client.get("/static/nope.css"), 404, "not_found")
    is_error(client.get("/static/../pages.py"), 404, "not_found")
    is_error(client.get("/static/%2e%2e/pages.py"), 404, "not_found")
    wrong = client.get("/api/predict")
    is_error(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"] == "POST"
    is_error(client.post("/api/models/none/predict", json={"key": "truck.jpg"}), 404, "not_found")


def test_keys(client: httpx.Client) -> None:
    for name in ("champion", "colours"):
        [answer] = client.post(f"/api/models/{name}/predict", json={"key": "truck.jpg"}).json()
        assert (answer["filename"], answer["predictions"][0]["label"]) == ("truck.jpg", "red")
    for key, label in [
        ("deep/ñ 2.jpg", "blue"),
        ("./truck.jpg", "red"),
        ("same.jpg", "red"),
        ("deep/../truck.jpg", "red"),
    ]:
        [answer] = client.post("/api/models/champion/predict", json={"key": key}).json()
        assert answer["predictions"][0]["label"] == label


@pytest.mark.parametrize(
    "key",
    [
        "../secret.jpg",
        "deep/../../secret.jpg",
        "../../../../../../etc/passwd",
        "/etc/passwd",
        "//etc/passwd",
        "%2e%2e/secret.jpg",
        "..%2fsecret.jpg",
        "%252e%252e%252fsecret.jpg",
        "..\\secret.jpg",
        "．．/secret.jpg",
        "way-out.jpg",
        "way-out/secret.jpg",
        "loop",
        "deep",
        ".",
        "truck.jpg/",
        "truck.jpg/x",
        "truck.jpg\0.png",
        "none.jpg",
        "~/x",
        "\ud800",
        "a" * 4000,
        "file:///etc/passwd",
    ],
)
def test_keys_never_leave_the_image_root(client: httpx.Client, key: str) -> None:
    body = json.dumps({"key": key})
    response = client.post("/api/models/champion/predict", content=body, headers={"content-type": "application/json"})
    if key == "\ud800":  # a lone surrogate is no JSON text at all
        assert response.status_code in (400, 404, 422)
    elif key == "truck.jpg/":
        assert response.status_code in (200, 404)
    else:
        is_error(response, 404, "not_found")


def test_bad_json(client: httpx.Client) -> None:
    url = "/api/models/champion/predict"
    as_json = {"content-type": "application/json"}
    is_error(client.post(url, content=b"{", headers=as_json), 400, "not_json")
    is_error(client.post(url, content=b"", headers=as_json), 400, "empty_body")
    is_error(client.post(url, content=b"\xff\xfe", headers=as_json), 400, "not_json")
    is_error(client.post(url, content=b'{"key": "truck.jpg"}'), 415, "unsupported_media_type")
    for wrong in ({}, [], {"key": 3}, {"key": ""}, {"key": "truck.jpg", "more": 1}, {"key": ["truck.jpg"]}):
        is_error(client.post(url, json=wrong), 422, "bad_input")
    is_error(client.post(url, json={"key": "notes.txt"}), 415, "not_an_image")


def test_feedback(workspace_client: httpx.Client, workspace: Workspace) -> None:
    client = workspace_client
    [answer] = client.post("/api/predict", content=colour_photo("red")).json()
    said = client.post("/api/feedback", json={"id": answer["id"], "label": "green"})
    assert (said.status_code, said.content) == (204, b"")
    with Catalog.open(workspace.catalog_url) as catalog:
        kept = catalog.prediction(answer["id"])
        assert (kept.label, kept.model, kept.version) == ("red", "colours", 1)
        assert kept.score == pytest.approx(answer["predictions"][0]["score"], abs=1e-6)
        assert [(f.prediction_id, f.true_label) for f in catalog.feedbacks()] == [(answer["id"], "green")]
    is_error(client.post("/api/feedback", json={"id": "none", "label": "green"}), 404, "not_found")
    is_error(client.post("/api/feedback", json={"id": answer["id"], "label": "purple"}), 422, "bad_input")
    is_error(client.post("/api/feedback", json={"id": answer["id"]}), 422, "bad_input")


def test_feedback_needs_a_workspace(client: httpx.Client) -> None:
    error = is_error(client.post("/api/feedback", json={"id": "x", "label": "red"}), 404, "not_found")
    assert "workspace" in error["message"]


def test_health_and_headers(client: httpx.Client) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    ready = client.get("/v2/health/ready")
    assert ready.json() == {"ready": True}
    assert "default-src 'self'" in ready.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in ready.headers["content-security-policy"]
    assert "server" not in ready.headers or "uvicorn" in ready.headers["server"]


def test_openapi(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {
        "/api/predict",
        "/api/models/{name}/predict",
        "/api/feedback",
        "/v2/health/live",
        "/v2/health/ready",
    }
    predict = document["paths"]["/api/predict"]["post"]
    assert "multipart/form-data" in predict["requestBody"]["content"]
    for status in ("400", "413", "415", "422", "429"):
        schema = predict["responses"][status]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/ErrorAnswer"}
    assert "example" in document["components"]["schemas"]["PredictionAnswer"]
    assert "HTTPValidationError" not in document["components"]["schemas"]
    is_error(client.get("/docs"), 404)


def test_a_full_house_answers_429(bundle_path: Path, run_app: Run) -> None:
    app = create_app(bundle_path, config=Config.load(env={}, serve__max_queue=4))
    with run_app(app) as client:
        model = app.state.service.model()
        model.batcher.n_inside += 4
        busy = client.post("/api/predict", content=colour_photo())
        is_error(busy, 429, "busy")
        assert int(busy.headers["retry-after"]) >= 1
        assert client.get("/v2/health/live").status_code == 200
        model.batcher.n_inside -= 4
        assert client.post("/api/predict", content=colour_photo()).status_code == 200
        is_error(client.post("/api/predict", files=[("file", ("a.jpg", colour_photo()))] * 5), 413)


def test_a_crash_tells_no_details(bundle_path: Path, run_app: Run, caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(bundle_path)

    @app.get("/crash")
    async def crash() -> None:
        raise ZeroDivisionError("secret detail")

    with run_app(app) as client:
        response = client.get("/crash", headers={"accept-language": "es"})
        is_error(response, 500, "internal")
        assert "secret detail" in caplog.text
        assert "secret" not in response.text
        assert client.get("/v2/health/live").status_code == 200


def test_what_is_refused_at_the_start(tmp_path: Path, bundle_path: Path) -> None:
    with pytest.raises(NotFound):
        create_app(tmp_path)
    with pytest.raises(NotFound, match="champion"):
        create_app(Workspace.create(tmp_path / "w"))
    with pytest.raises(UsageError, match="image_root"):
        create_app(bundle_path, config=Config.load(env={}, serve__image_root=str(tmp_path / "none")))
    tiny_bundle(tmp_path / "twin")
    with pytest.raises(UsageError, match="colours"):
        create_app([bundle_path, tmp_path / "twin"])


@pytest.fixture(autouse=True)
def _no_leak(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "client" in request.fixturenames:
        assert request.getfixturevalue("client").get("/v2/health/ready").json() == {"ready": True}
