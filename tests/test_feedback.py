"""Corrections of visitors: stored whole and bounded, only with consent, deletable, harmless, and taken only after a review."""

import io
import multiprocessing
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageCms
from tiny import CLASSES, coloured, tiny_bundle

from vehicle_nb.core import VehicleError
from vehicle_nb.data.explore import explore
from vehicle_nb.data.images import BadImage
from vehicle_nb.data.sources import get_data, read_set
from vehicle_nb.serving import feedback
from vehicle_nb.serving.feedback import FeedbackStore, feedback_store, new_code, plain_text, read_feedback, review_feedback
from vehicle_nb.serving.i18n import languages
from vehicle_nb.serving.predictor import Prediction, Predictor

TOP = [(name, p) for name, p in zip(CLASSES, (0.7, 0.2, 0.06, 0.04), strict=True)]
BOAT = Prediction("boat", 0.7, TOP, np.array([p for _, p in TOP], np.float32))
UNKNOWN = Prediction(None, 0.7, TOP, BOAT.probs, known=False)


def jpeg(kind: str = "bus", seed: int = 0, size: tuple[int, int] = (64, 48), **options) -> bytes:
    "A file as a visitor uploads it."
    file = io.BytesIO()
    coloured(kind, seed, size).save(file, "JPEG", **options)
    return file.getvalue()


def save(store: FeedbackStore, image=None, prediction=BOAT, right=False, label="bus", other="", visitor="Ada", consent=True) -> str:
    return store.save(jpeg() if image is None else image, prediction, right, label, other, "demo", visitor, consent=consent)


def files(folder: Path) -> list[str]:
    "What lies in the folder, without the lock."
    return sorted(path.name for path in folder.rglob("*") if path.name != ".lock")


@pytest.fixture
def store(tmp_path) -> FeedbackStore:
    return FeedbackStore(tmp_path / "feedback")


def test_nothing_is_stored_unless_the_operator_turned_it_on_and_the_visitor_agreed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VEHICLE_FEEDBACK", raising=False)
    assert feedback_store() is None and feedback_store({"VEHICLE_FEEDBACK": "  "}) is None
    store = feedback_store({"VEHICLE_FEEDBACK": "data/feedback"})
    assert store is feedback_store({"VEHICLE_FEEDBACK": "data/feedback"}), "one store for all visitors: it counts their corrections"
    for consent in (False, None, 0, "", "no", 1):  # only True is consent
        with pytest.raises(VehicleError, match="without consent"):
            save(store, consent=consent)
    with pytest.raises(TypeError):
        store.save(jpeg(), BOAT, False, "bus", "", "demo", "Ada")
    assert files(tmp_path) == []
    save(store)
    assert len(files(tmp_path)) == 4  # data, feedback, the image and the table


def test_a_correction_is_an_image_and_a_row(store):
    code = save(store, label="tractor")
    (row,) = read_feedback(store.folder)
    assert {name: row[name] for name in ("label", "other", "prediction", "probability", "correct", "model")} == {
        "label": "tractor", "other": "", "prediction": "boat", "probability": "0.7000", "correct": "no", "model": "demo",
    }  # fmt: skip
    assert code not in (store.folder / "labels.csv").read_text() and "Ada" not in (store.folder / "labels.csv").read_text()
    difference = np.abs(np.asarray(Image.open(store.folder / row["file"]), float) - np.asarray(coloured("bus"), float))
    assert difference.mean() < 20, "the visitor's image"
    assert (store.folder.stat().st_mode & 0o077) == 0, "other users of the machine do not see what visitors sent"
    save(store, right=True, label="bus")
    save(store, prediction=UNKNOWN, right=True, label=None)
    assert [(row["label"], row["correct"]) for row in read_feedback(store.folder)[1:]] == [("boat", "yes"), ("", "yes")]


def test_an_image_is_encoded_again_small_upright_and_without_a_trace_of_its_maker(store):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x9003] = 6, "Secret Camera 4711", "2026:11:30 12:00:00"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    save(store, jpeg(size=(3000, 1500), exif=exif, icc_profile=profile, comment=b"Secret comment") + b"Secret file behind the image")
    (row,) = read_feedback(store.folder)
    data = (store.folder / row["file"]).read_bytes()
    image = Image.open(io.BytesIO(data))
    assert b"Secret" not in data and not image.getexif() and "icc_profile" not in image.info
    assert image.size == (512, 1024), "turned as its EXIF says, and small"
    wide = jpeg(icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes())
    save(store, wide)  # a profile that does not fit is no reason to fail


@pytest.mark.parametrize("label", ["../../etc/passwd", "hovercraft", "/tmp/x", "", "bus/../x", "=1+1", "bus\x00", "BUS"])
def test_a_class_that_the_model_does_not_know_is_text_and_no_folder(store, label):
    save(store, label=label)
    (row,) = read_feedback(store.folder)
    assert row["label"] == "" and row["other"] == plain_text(label)
    assert files(store.folder) == sorted(["labels.csv", row["file"]]) and files(store.folder.parent)[-1] == "labels.csv"


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-1", "@x", "\t=1", "\r\n=1", "＝1", "  =1"])
def test_no_cell_is_a_formula_and_none_breaks_the_table(store, text):
    nasty = Prediction(text, 0.9, [(text, 0.9), ("bus", 0.1)], np.array([0.9, 0.1]))
    store.save(jpeg(), nasty, False, text, text + '",\n"x', text, text, consent=True)
    cells = [cell for row in read_feedback(store.folder) for cell in row.values()]
    assert len(cells) == 9 and not any(cell.lstrip().startswith(("=", "+", "-", "@", "＝")) for cell in cells)
    save(store)
    assert len(pd.read_csv(store.folder / "labels.csv")) == 2
    assert len(plain_text("x" * 1000)) == 80


def test_the_code_deletes_one_correction_and_a_wrong_code_none(store):
    codes = [save(store, jpeg(seed=seed)) for seed in range(3)]
    assert not any(store.delete(wrong) for wrong in ("", new_code(), read_feedback(store.folder)[0]["code"], "*"))
    assert store.delete(f" {codes[1].lower().replace('-', ' ')}\n") and not store.delete(codes[1])
    rows = read_feedback(store.folder)
    assert len(rows) == 2 and files(store.folder) == sorted(["labels.csv", *(row["file"] for row in rows)])
    assert len({new_code() for _ in range(100)}) == 100
    assert FeedbackStore(store.folder.parent / "nothing").delete(codes[0]) is False and not (store.folder.parent / "nothing").exists()


def test_number_bytes_and_visitors_are_bounded(tmp_path, monkeypatch):
    few = FeedbackStore(tmp_path / "few", max_images=2)
    for visitor in ("Ada", "Bob"):
        save(few, visitor=visitor)
    with pytest.raises(VehicleError, match="no more corrections"):
        save(few, visitor="Eve")
    small = FeedbackStore(tmp_path / "small", max_bytes=2000)
    with pytest.raises(VehicleError, match="no more corrections"):
        save(small, jpeg(size=(640, 480)))
    assert files(small.folder) == ["labels.csv"]
    hourly = FeedbackStore(tmp_path / "hourly", per_hour=2)
    save(hourly), save(hourly)
    with pytest.raises(VehicleError, match="at most 2 corrections are taken in an hour"):
        save(hourly)
    save(hourly, visitor="Bob")
    assert languages()["fr"].error("at most 2 corrections are taken in an hour") == "2 corrections au plus sont acceptées par heure"
    now = feedback.time.monotonic()
    monkeypatch.setattr(feedback.time, "monotonic", lambda: now + 3601)
    save(hourly)
    assert set(hourly.times) == {"Ada"}, "who has not been here for an hour is forgotten"
    assert len(read_feedback(hourly.folder)) == 4


def test_what_is_no_image_is_refused_and_a_broken_disk_is_the_operators_matter(store, monkeypatch, capsys):
    with pytest.raises(BadImage):
        save(store, b"<html></html>")
    assert not store.folder.exists() and not store.times
    store.folder.parent.mkdir(exist_ok=True)
    store.folder.write_text("a file")
    with pytest.raises(VehicleError, match="could not be stored"):
        save(store)
    assert "feedback" in capsys.readouterr().err


def test_a_server_that_was_killed_leaves_nothing_half(store):
    save(store)
    (row,) = read_feedback(store.folder)
    new = store.folder / ".new-0123456789abcdef.jpg"
    new.write_bytes(jpeg())  # its row was never written
    (store.folder / "holiday.jpg").write_bytes(jpeg())  # somebody else's
    save(store, jpeg(seed=1))
    assert not new.exists() and files(store.folder)[-2:] == ["holiday.jpg", "labels.csv"] and len(files(store.folder)) == 4
    (store.folder / row["file"]).rename(store.folder / f".new-{row['file']}")  # its row was written, and then came the end
    assert store.delete(new_code()) is False and (store.folder / row["file"]).is_file()
    (store.folder / row["file"]).unlink()
    save(store, jpeg(seed=2))
    assert row["file"] not in {row["file"] for row in read_feedback(store.folder)} and len(read_feedback(store.folder)) == 2
    (store.folder / "labels.csv").rename(store.folder / "old.csv")  # an operator who puts the table away loses no image
    save(store, jpeg(seed=3))
    assert len(list(store.folder.glob("*.jpg"))) == 4 and len(read_feedback(store.folder)) == 1


def test_a_table_that_a_spreadsheet_saved_is_read_and_a_broken_one_is_left_alone(store, capsys):
    save(store)
    table = store.folder / "labels.csv"
    table.write_text("\ufeff" + table.read_text().replace(",", ";"), encoding="utf-8")
    save(store, jpeg(seed=1))
    assert [row["label"] for row in read_feedback(store.folder)] == ["bus", "bus"]
    table.write_text("file,label\n")
    with pytest.raises(VehicleError, match="could not be stored"):
        save(store, jpeg(seed=2))
    assert table.read_text() == "file,label\n" and len(list(store.folder.glob("*.jpg"))) == 2
    assert "the column other is missing" in capsys.readouterr().err


def many(folder: Path, first: int):
    "Eight corrections, as another process of the server stores them."
    store = FeedbackStore(folder)
    for seed in range(first, first + 8):
        save(store, jpeg(seed=seed))


def test_threads_and_processes_write_one_table(store):
    others = [multiprocessing.get_context("fork").Process(target=many, args=(store.folder, n)) for n in (100, 200)]
    threads = [threading.Thread(target=many, args=(store.folder, n)) for n in (300, 400)]
    for one in (*others, *threads):
        one.start()
    for one in (*others, *threads):
        one.join(60)
    rows = read_feedback(store.folder)
    assert len(rows) == 32 == len({row["code"] for row in rows})
    assert files(store.folder) == sorted(["labels.csv", *(row["file"] for row in rows)])


def test_corrections_are_reviewed_and_then_added(tmp_path, capsys):
    "Ask, correct, explore, decide, add: what was dropped stays out, and what was moved has its new class."
    predictor, store = Predictor(tiny_bundle(tmp_path / "models/tiny")), FeedbackStore(tmp_path / "feedback")
    for kind in CLASSES:
        for seed in range(3):
            image = jpeg(kind, seed)
            store.save(image, predictor.predict(image), True, kind, "", "tiny", kind, consent=True)
    save(store, jpeg("bus", 9), label="boat")  # a joke
    save(store, jpeg("bus", 8), label="a hovercraft")
    rows = read_feedback(store.folder)
    assert read_set(store.folder).layout.name == "table" and set(read_set(store.folder).classes) == set(CLASSES)
    explore(str(store.folder), str(tmp_path / "audit"), workers=1, duplicates="exact", quiet=True)
    listed = pd.read_csv(tmp_path / "audit/files.csv", keep_default_na=False)
    assert set(listed["path"]) >= {row["file"] for row in rows if row["label"]}, "decisions name files as the table does"
    joke, moved, gone = rows[-2]["file"], rows[0]["file"], rows[1]["file"]
    decisions = pd.DataFrame({"path": [joke, moved, gone], "decision": ["keep", "move", "drop"], "class": ["", "bus", ""]})
    decisions.to_csv(tmp_path / "audit/decisions.csv", index=False)
    review_feedback(str(store.folder), str(tmp_path / "audit/decisions.csv"))
    out = capsys.readouterr().out
    assert "13 corrections" in out and "1 have no label and will not be used: a hovercraft." in out and "--add" in out
    for kind in CLASSES:
        (tmp_path / "raw" / kind).mkdir(parents=True)
        coloured(kind, 77).save(tmp_path / "raw" / kind / "own.jpg")
    get_data(from_path=str(store.folder), add=True, output=str(tmp_path / "raw"), quiet=True)
    added = {path.name: path.parent.name for path in (tmp_path / "raw").rglob("*.jpg") if path.name != "own.jpg"}
    assert added == {row["file"]: row["label"] for row in read_feedback(store.folder) if row["label"]}
    assert len(added) == 12 and added[moved] == "bus" and added[joke] == "boat" and gone not in added
    with pytest.raises(VehicleError, match="There are no corrections in nowhere"):
        review_feedback("nowhere")
