"""The server around the page: uploads stay in memory, and programs get the page's answers within the page's limits."""

import asyncio
import io
import json
import tempfile
import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.formparsers import MultiPartParser
from starlette.testclient import TestClient
from streamlit import App, config
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.web.server.starlette.starlette_routes import create_upload_routes
from tiny import coloured, tiny_bundle

from vehicle_nb.serving import api, server
from vehicle_nb.serving.batching import LIMITS, REFUSED, shared_model
from vehicle_nb.serving.predictor import Predictor

PATH = "/_stcore/upload_file/visitor/file"


def jpeg(kind: str = "bus") -> bytes:
    file = io.BytesIO()
    coloured(kind).save(file, "JPEG", quality=92)
    return file.getvalue()


# --- uploads ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_temporary_files(monkeypatch):
    "Whoever opens a temporary file from now on fails; and Starlette is as it was, afterwards."
    monkeypatch.setattr(MultiPartParser, "spool_max_size", 2**20)
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")


class Sessions:
    "Streamlit's runtime, as far as its upload route asks it."

    def is_active_session(self, session_id: str) -> bool:
        return True


@pytest.fixture
def uploads(monkeypatch) -> tuple[TestClient, MemoryUploadedFileManager]:
    "Streamlit's own upload route behind our middleware."
    ours, streamlits = {"server.maxUploadSize": 50, "server.enableXsrfProtection": False}, config.get_option
    monkeypatch.setattr(config, "get_option", lambda name: ours[name] if name in ours else streamlits(name))
    kept = MemoryUploadedFileManager("/uploads")
    inside = Starlette(routes=create_upload_routes(Sessions(), kept, None))
    return TestClient(server.UploadLimiter(inside, lambda: kept)), kept


def photo(megabytes: float) -> bytes:
    "A picture of at least so many megabytes."
    side = int((megabytes * 2**20 / 3) ** 0.5) + 1
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)).save(file, "BMP")
    return file.getvalue()


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_of_5_mb_never_touches_the_disk(no_temporary_files, uploads, chunked):
    (client, kept), data = uploads, photo(5)
    form = b'--end\r\nContent-Disposition: form-data; name="file"; filename="a.bmp"\r\n\r\n' + data + b"\r\n--end--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=end"}

    def put() -> int:
        body = iter([form[i : i + 2**16] for i in range(0, len(form), 2**16)]) if chunked else form
        return client.put(PATH, content=body, headers=headers).status_code

    with pytest.raises(FileNotFoundError):  # Starlette's default does write a file: this test notices
        put()
    server.keep_uploads_in_memory()
    assert put() == 204
    (record,) = kept.get_files("visitor", ["file"])
    assert record.name == "a.bmp" and max(Image.open(io.BytesIO(record.data)).size) == LIMITS.kept_side


def test_the_operators_own_upload_limit_stays_in_memory_as_well(monkeypatch):
    monkeypatch.setattr(MultiPartParser, "spool_max_size", 2**20)
    monkeypatch.setattr(server, "apply_settings", lambda upload_mb: None)
    monkeypatch.setattr(server, "freeze_gc", lambda: None)
    monkeypatch.setattr(config, "get_option", lambda name: 200)
    monkeypatch.delenv("VEHICLE_API", raising=False)
    assert server.configure_server()["routes"] == [], "programs are let in only where the operator says so"
    assert MultiPartParser.spool_max_size > 200 * 2**20
    monkeypatch.setenv("VEHICLE_API", "1")
    assert [route.path for route in server.configure_server()["routes"]] == ["/api/predict"]


# --- programs --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    tiny_bundle(models / "tiny")
    return models


def client(models, limits=LIMITS, gate=None) -> TestClient:
    gate = gate or server.Gate(limits)
    return TestClient(Starlette(routes=api.api_routes(gate.admit, limits, str(models))))


def test_a_program_gets_what_the_predictor_says(models):
    truth = Predictor(models / "tiny").predict(jpeg("tractor"), "t.jpg").to_dict()
    with client(models) as programs:
        form = programs.post("/api/predict", files={"image": ("t.jpg", jpeg("tractor"))})
        assert (form.status_code, form.headers["content-type"]) == (200, "application/json")
        assert form.json().pop("model") == "tiny" and truth["label"] == "tractor"
        raw = [programs.post(f"/api/predict{query}", content=jpeg("tractor")) for query in ("", "?model=tiny")]
        for said in (form, *raw):
            for a, b in zip(said.json()["top"], truth["top"], strict=True):
                assert a["label"] == b["label"] and a["probability"] == pytest.approx(b["probability"], abs=1e-4)
        assert form.json().keys() == truth.keys() | {"model"} and form.json()["name"] == "t.jpg"
        assert programs.get("/api/predict").status_code == 405


@pytest.mark.parametrize(("data", "words"), [
    (b"<html></html>", "web page"), (b"", "empty file"), (jpeg()[:300], ""),
    (REFUSED + b"x", "not an image"), (REFUSED + b"\xff", "not an image"),
])  # fmt: skip
def test_what_cannot_be_used_is_said_in_the_pages_words(models, data, words):
    page = shared_model(models / "tiny").submit(data.removeprefix(REFUSED), "image 1").result()
    with client(models) as programs:
        for said in (programs.post("/api/predict", content=data), programs.post("/api/predict", files={"image": ("image 1", data)})):
            assert said.status_code == 422 and said.json()["label"] is None
            assert said.json()["error"] == page.error and words in page.error


def test_a_bomb_and_a_large_file_are_refused(models):
    bomb = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + (60000).to_bytes(4) * 2 + b"\x08\x02\0\0\0" + bytes(100)
    with client(models, replace(LIMITS, upload_mb=1)) as programs:
        assert programs.post("/api/predict", content=bomb).status_code == 422
        for options in ({"content": bytes(2**20 + 1)}, {"files": {"image": bytes(2**20 + 1)}}, {"content": iter([bytes(2**16)] * 40)}):
            said = programs.post("/api/predict", **options)
            assert (said.status_code, said.json()) == (413, {"error": "too large: at most 1 MB are taken"})


def test_a_form_without_a_file_and_a_broken_one_are_told_so(models):
    with client(models) as programs:
        head = {"content-type": "multipart/form-data; boundary=end"}
        for body, words in (
            (b'--end\r\nContent-Disposition: form-data; name="image"\r\n\r\nx\r\n--end--\r\n', "no file"),
            (b"--other\r\n", "cannot be read"),
        ):
            said = programs.post("/api/predict", content=body, headers=head)
            assert said.status_code == 400 and words in said.json()["error"]
        two = programs.post("/api/predict", files=[("a", jpeg()), ("b", jpeg())])
        assert two.status_code == 400 and "cannot be read" in two.json()["error"]


def test_a_model_is_named_by_its_run_and_never_by_a_path(models, tmp_path):
    with client(models) as programs:
        for name in ("other", "../models/tiny", str(models / "tiny"), "tiny/"):
            said = programs.post("/api/predict", params={"model": name}, content=jpeg())
            assert (said.status_code, said.json()) == (404, {"error": "there is no model of this name"})
    with client(tmp_path) as programs:
        said = programs.post("/api/predict", content=jpeg())
        assert said.status_code == 503 and said.headers["retry-after"] and "no model" in said.json()["error"]


async def ask(routes, receive) -> tuple[int, dict]:
    "One request whose body comes as `receive` says; its status and its JSON."
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/api/predict", "headers": [(b"content-length", b"2000")], "query_string": b""}
    await Starlette(routes=routes)(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"] or "{}")


def test_who_is_too_slow_or_comes_in_a_crowd_is_told_to_come_back(models):
    limits = replace(LIMITS, queue_timeout=0.2)
    gate = server.Gate(limits)

    async def slowly():
        await asyncio.sleep(0.1)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def leave():
        return {"type": "http.disconnect"}

    routes = api.api_routes(gate.admit, limits, str(models))
    assert asyncio.run(ask(routes, slowly)) == (408, {"error": "the image took longer than 0.2 seconds to arrive"})
    assert asyncio.run(ask(routes, leave)) == (499, {})
    assert gate.incoming == 0, "whoever has gone makes room for others"
    with client(models, replace(limits, incoming_mb=0)) as programs:
        said = programs.post("/api/predict", content=jpeg())
        assert said.status_code == 503 and "too many" in said.json()["error"] and said.headers["retry-after"] == "60"


def test_only_so_many_are_worked_on_at_a_time(models, monkeypatch):
    model, busy, most = shared_model(models / "tiny"), 0, 0
    lock, submit = threading.Lock(), model.submit

    def counted(data, name):
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        future = submit(data, name)

        def done(_):
            nonlocal busy
            with lock:
                busy -= 1

        future.add_done_callback(done)
        return future

    monkeypatch.setattr(model, "submit", counted)
    routes = api.api_routes(server.Gate().admit, replace(LIMITS, in_flight=3), str(models))

    async def receive():
        return {"type": "http.request", "body": jpeg()}

    async def crowd() -> list[int]:
        return [status for status, _ in await asyncio.gather(*(ask(routes, receive) for _ in range(20)))]

    assert asyncio.run(crowd()) == [200] * 20 and most == 3


def test_streamlits_app_offers_the_address_beside_the_page(models, monkeypatch):
    monkeypatch.setenv("VEHICLE_API", "1")
    monkeypatch.setenv("VEHICLE_RUNS", str(models))
    monkeypatch.setattr(server, "apply_settings", lambda upload_mb: None)  # settings and frozen objects of this process stay
    monkeypatch.setattr(server, "freeze_gc", lambda: None)
    monkeypatch.setattr(MultiPartParser, "spool_max_size", 2**20)
    said = TestClient(App(**server.configure_server())).post("/api/predict", files={"image": jpeg("boat")})
    assert (said.status_code, said.json()["label"]) == (200, "boat")
    assert said.headers["x-content-type-options"] == "nosniff", "behind the same middleware as the page"

