"""What the pages share: caches for all visitors, small pictures to click, and who may read paths."""

import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from vehicle_nb.core import VehicleError
from vehicle_nb.demo.make import draw_vehicle
from vehicle_nb.models.bundle import read_examples
from vehicle_nb.serving import image_input, ui
from vehicle_nb.serving.batching import LIMITS, BatchingPredictor, freeze_gc, shared_model
from vehicle_nb.serving.i18n import Language
from vehicle_nb.serving.jobs import EvaluationJob, TrainingJob
from vehicle_nb.serving.predictor import Predictor
from vehicle_nb.serving.ui import Run, escape_markdown

RUNS = Path(os.environ.get("VEHICLE_RUNS", "models"))
state = st.session_state


@st.cache_resource(show_spinner=False, max_entries=4)
def load_model(key: tuple) -> BatchingPredictor | VehicleError:
    "One model in memory for all visitors, or why it cannot be used; `key` changes when the files do."
    try:
        model = shared_model(key[0])
        freeze_gc()  # Streamlit collects garbage after each click: the model's objects would cost half of the time of an answer
        return model
    except VehicleError as error:
        print(f"vehicle_app: {error}", file=sys.stderr)  # for the operator of the server; visitors read no paths
        return error


@st.cache_data(show_spinner=False, max_entries=4)
def read_runs(folder: str, key: tuple) -> list[Run]:
    "All runs in the folder; `key` changes when one of them does, so that they are not read again on each click."
    return ui.read_runs(folder)


@st.cache_resource(show_spinner=False)
def training_job() -> TrainingJob:
    "The one training run that all visitors share."
    return TrainingJob(RUNS, shlex.split(os.environ.get("VEHICLE_TRAIN", "")))


@st.cache_resource(show_spinner=False, max_entries=4)
def evaluation_job(bundle: str) -> EvaluationJob:
    "The one evaluation of a bundle that all visitors share."
    return EvaluationJob(bundle)


@st.cache_data(show_spinner=False, max_entries=200)
def drawing(label: str, seed: int) -> bytes:
    "A drawn vehicle as a JPEG."
    return image_input.jpeg_thumbnail(draw_vehicle(label, seed), 512)


@st.cache_data(show_spinner=False, max_entries=4)
def bundle_examples(key: tuple) -> dict[str, list[bytes]]:
    "The examples that a bundle brings, as JPEG; `key` changes when the bundle does."
    return {name: [path.read_bytes() for path in paths] for name, paths in read_examples(key[0]).items()}


@st.cache_data(show_spinner=False)
def asset(file: str) -> str:
    "Style sheet and script: what Streamlit has no widget for."
    return Path(__file__).with_name(file).read_text(encoding="utf-8")


def example_images(predictor: Predictor, seed: int, count: int) -> list[tuple[str, int, bytes]]:
    "Examples of the model's classes as (class, number, JPEG): its own, or drawings for a model of drawings that has none."
    if own := bundle_examples(ui.bundle_key(predictor.path)):
        return [(name, n % len(own[name]), own[name][n % len(own[name])]) for name, n in ui.example_classes(list(own), seed, count)]
    chosen = ui.example_classes(ui.drawn_classes(predictor.config), seed, count)
    return [(name, n, drawing(name, 1_000_000_000 + n)) for name, n in chosen]


def page_script(say: Language, run: str | None = None):
    "The script of the page: its address and language, names for Streamlit's own buttons, and what is pasted."
    component = st.components.v2.component("page", js=asset("page.js"), isolate_styles=False)
    query = {"lang": say.code} | ({"model": run} if run else {})
    data = {"query": query, "images": len(state.images), "texts": ui.widget_texts(say, LIMITS.upload_mb)}
    told = component(key="page", data=data, height=0, on_address_change=lambda: None, on_lost_change=lambda: None)
    if told.lost:
        st.info(say("The page was loaded again: pictures are not kept for that long."), icon=":material/info:")
    return told


def picture_grid(key: str, cells: Iterable[tuple], columns: int, width: int) -> int | None:
    "Pictures with a button each: (JPEG or None, text, caption, callback or None, its argument). Returns which was pressed."
    pressed = None
    grid = st.grid(columns, min_column_width=width, gap="xsmall", key=key)
    for place, (jpeg, text, caption, callback, argument) in enumerate(cells):
        with grid.container(key=f"{key}_cell{place}", gap=None):
            if jpeg:
                st.image(jpeg, width="stretch", alt="")
            if st.button(text, key=f"{key}_button{place}", type="tertiary", width="stretch", on_click=callback, args=[argument]):
                pressed = place
            if caption:
                st.caption(escape_markdown(caption))
    return pressed


def at_home() -> bool:
    "Is the visitor at the computer that runs the page, and so allowed to read its paths and commands?"
    return urlsplit(st.context.url or "").hostname in ("localhost", "127.0.0.1", "::1")


def visitor_id() -> str:
    "Who this is, for a limit on what one visitor may send."
    return st.context.ip_address or get_script_run_ctx().session_id
