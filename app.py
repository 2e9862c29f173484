"""The page: drop a picture, read which vehicle it shows. Start it with: streamlit run app.py

It is a thin layer. Prediction lives in vehicle_nb/inference.py, everything else that can be tested without a
browser in vehicle_nb/page.py (lesson nbs/09_app.ipynb explains both). VEHICLE_MODELS names another folder of models.
"""

import os
from dataclasses import replace
from pathlib import Path

import streamlit as st

from vehicle_nb.core import VehicleError
from vehicle_nb.demo import draw_vehicle
from vehicle_nb.inference import Prediction, Predictor, percent
from vehicle_nb.model import list_bundles
from vehicle_nb.page import (
    ORDERS,
    TRAIN_COMMAND,
    TrainingJob,
    arrange,
    bundle_key,
    bundle_label,
    card,
    example_kinds,
    gallery,
    sign,
    spoken,
    table_csv,
    thumbnail,
    top_chart,
    where_image,
)

MODELS = Path(os.environ.get("VEHICLE_MODELS", "models"))
AT_ONCE = 48  # cards of the gallery before "Show more"
STYLE = Path(__file__).with_name(".streamlit") / "page.css"

st.set_page_config(page_title="Which vehicle is this?", page_icon="🚦", layout="wide", initial_sidebar_state="auto")


@st.cache_resource(show_spinner=False, max_entries=4)
def load_predictor(key: tuple) -> Predictor:
    "One model in memory for all visitors; `key` changes when the files do."
    return Predictor(key[0])


@st.cache_resource(show_spinner=False)
def training_job() -> TrainingJob:
    "The one training run that all visitors share."
    return TrainingJob([*TRAIN_COMMAND, "--models", str(MODELS)])


@st.cache_data(show_spinner=False, max_entries=200)
def example_picture(kind: str, seed: int) -> bytes:
    "A drawn vehicle as a JPEG."
    return thumbnail(draw_vehicle(kind, seed), 512)


def main():
    st.html(f"<style>{style()}</style>")
    st.html('<div class="hero"><h1>Which vehicle is this?</h1><p>Drop a picture. A small neural network says what it sees, '
            "how sure it is, and when it does not know.</p></div>")
    bundles = list_bundles(MODELS)
    if training_job().running or not bundles:
        no_model()
        return
    predictor = choose_model(bundles)
    if predictor is None:
        return
    take_pictures()
    example = st.session_state.get("example")
    files = given_files()
    if not (files and st.session_state.get("way") == "Camera"):  # the camera needs the space
        examples(predictor, small=bool(example or files))
    if example:
        one_picture(predictor, f"a drawing of {spoken(example[0]).lower()}", example_picture(*example))
    elif files:
        answer_files(predictor, files)


@st.cache_data(show_spinner=False)
def style() -> str:
    "The look of what Streamlit has no widget for."
    return STYLE.read_text(encoding="utf-8")


def choose_model(bundles: list[Path]) -> Predictor | None:
    "The sidebar: which model, and what is known about it."
    with st.sidebar:
        st.subheader("The model")
        labels = {bundle_label(path): path for path in bundles}
        path = labels[st.selectbox("Model", labels, label_visibility="collapsed")]
        try:
            predictor = load_predictor(bundle_key(path))
        except (VehicleError, OSError) as error:
            st.error(str(error), icon=":material/error:")
            predictor = None
        if predictor:
            about(predictor)
        st.caption("Pictures stay in this computer's memory while you look at them. Nothing is stored, nothing is sent on.")
    if predictor is None:
        st.error("This model cannot be used. Choose another one in the sidebar.", icon=":material/error:")
    return predictor


def about(predictor: Predictor):
    "What a visitor may want to know about the model."
    metrics = predictor.config.get("metrics") or {}
    if isinstance(accuracy := metrics.get("test_accuracy"), float):
        st.metric("Right answers on test pictures", percent(accuracy, 1), help="Measured on pictures that it never saw in training.")
    st.caption(f"`{predictor.config['arch']}`, trained on {str(predictor.config.get('created', ''))[:10] or 'an unknown day'}. "
               f"Says “not a vehicle I know” below {100 * predictor.threshold:.0f}\u00a0%.")
    with st.expander(f"The {len(predictor.classes)} kinds it knows"):
        st.write(" · ".join(spoken(c).replace("*", "\\*") for c in predictor.classes))


def take_pictures():
    "Upload or camera: the newest choice counts."
    way = st.segmented_control("How", ["Upload", "Camera"], default="Upload", key="way", label_visibility="collapsed", required=True)
    if way == "Camera":
        st.camera_input("Take a picture", key="camera", on_change=pictures_came, width=480, label_visibility="collapsed")
    else:
        st.file_uploader("One picture or many", key=files_key(), accept_multiple_files=True, on_change=pictures_came,
                         label_visibility="collapsed")


def files_key() -> str:
    "The name of the upload widget; a new name is an empty widget."
    return f"files{st.session_state.setdefault('round', 0)}"


def given_files() -> list:
    "The pictures that were uploaded or taken, whichever way is chosen."
    if st.session_state.get("way") == "Camera":
        shot = st.session_state.get("camera")
        return [shot] if shot else []
    return st.session_state.get(files_key()) or []


def pictures_came():
    "A picture of the visitor's own takes the place of an example; remember which ones are new."
    seen = st.session_state.get("seen", set())
    ids = [f.file_id for f in given_files()]
    st.session_state.update(example=None, shown=AT_ONCE, seen=set(ids), new=[i for i in ids if i not in seen])


def forget():
    "Start with an empty page."
    st.session_state.update(round=st.session_state.get("round", 0) + 1, seen=set(), new=[], answers={}, example=None)


def answer_files(predictor: Predictor, files: list):
    "A single new picture gets the large answer; several are a gallery."
    new = [f for f in files if f.file_id in st.session_state.get("new", [])]
    newest = files[0] if len(files) == 1 else new[0] if len(new) == 1 else None
    if newest:
        one_picture(predictor, newest.name, newest.getvalue())
    if len(files) > 1:
        many_pictures(predictor, files)


def one_picture(predictor: Predictor, name: str, data: bytes):
    "The answer in large type, the chart, and the picture beside them."
    try:
        answer, picture = predictor.predict(data, name=name), thumbnail(data)
    except VehicleError as error:
        st.error(f"{plain(str(error))} Try another picture.", icon=":material/broken_image:")
        return
    with st.container(key="answer"):  # the sign comes first on a phone, and stands on the right of a wide page
        right, left = st.columns([6, 5], gap="large")
    with right:
        st.html(sign(answer))
        st.caption("The nearest guesses" if answer.unknown else "The best guesses")
        said = "Bar chart: " + ", ".join(f"{spoken(c)} {percent(p)}" for c, p in answer.top[:5])
        st.altair_chart(top_chart(answer, 5, st.context.theme.type == "dark"), width="stretch", theme=None, alt=said)
    with left:
        looked = st.session_state.get("looked", False)
        heat = where_image(predictor, data, answer) if looked else None
        with st.container(key="picture"):
            st.image(heat if heat is not None else picture, width="stretch", alt=f"The picture {name}")
        st.toggle("Show where it looked", key="looked", help="Bright places spoke for the best guess (Grad-CAM).")
        if looked and heat is None:
            st.caption("This kind of network does not tell.")


def many_pictures(predictor: Predictor, files: list):
    "A gallery to sort and filter, and the table to take home."
    answers, pictures = answer_all(predictor, files)
    labels = sorted({a.label for a in answers if not a.error})
    unreadable = sum(bool(a.error) for a in answers)
    st.html(f'<div class="summary"><b>{len(answers)} pictures</b>, {len(labels)} kinds of answer'
            + (f", <em>{unreadable} not readable</em>" if unreadable else "") + "</div>")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        order = st.selectbox("Order", ORDERS, width=190)
        only = st.selectbox("Show", [None, *labels], format_func=lambda c: "All" if c is None else spoken(c), width=220)
        st.download_button("Table (CSV)", lambda: table_csv(answers), "vehicles.csv", "text/csv", icon=":material/download:",
                           on_click="ignore")
        st.button("Clear", icon=":material/close:", type="tertiary", on_click=forget)
    places = arrange(answers, order, only)
    shown = st.session_state.setdefault("shown", AT_ONCE)
    st.html(gallery(card(answers[i], pictures[i]) for i in places[:shown]))
    if len(places) > shown and st.button(f"Show more ({len(places) - shown} left)"):
        st.session_state.shown = shown + AT_ONCE
        st.rerun()


def answer_all(predictor: Predictor, files: list) -> tuple[list[Prediction], list[bytes | None]]:
    "Answers and small pictures, from this visit's memory where they have been given before."
    known = st.session_state.setdefault("answers", {})
    model = bundle_key(predictor.path)
    new = [f for f in files if (model, f.file_id) not in known]
    if new:
        bar = st.progress(0.0, f"Looking at {len(new)} pictures …")
        answers = predictor.predict_many((f.getvalue() for f in new), batch_size=16)
        for n, (file, answer) in enumerate(zip(new, answers, strict=True), 1):
            known[model, file.file_id] = replace(answer, name=file.name), small(file, answer)
            bar.progress(n / len(new), f"Looking at {len(new)} pictures …")
        bar.empty()
    # What was taken away by the visitor is forgotten here, too.
    keep = {(model, f.file_id): known[model, f.file_id] for f in files}
    st.session_state.answers = keep
    return [a for a, _ in keep.values()], [p for _, p in keep.values()]


def small(file, answer: Prediction) -> bytes | None:
    "The picture of a card."
    return None if answer.error else thumbnail(file.getvalue(), 240)


def plain(text: str) -> str:
    "Text from outside, so that it means nothing to Markdown."
    return "".join(f"\\{c}" if c in r"\`*_{}[]()<>#+!|~$:" else c for c in text)


def examples(predictor: Predictor, small: bool):
    "Drawn vehicles, one click away; a narrow strip once there is an answer."
    turn = st.session_state.setdefault("turn", 0)
    kinds = example_kinds(predictor.classes, turn)
    if not kinds:
        return
    with st.container(key="examples_head", horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.html('<div class="or">No picture at hand? Take a drawing:</div>', width="content")
        st.button("Others", icon=":material/shuffle:", type="tertiary", on_click=lambda: st.session_state.update(turn=turn + 1))
    with st.container(key="examples_small" if small else "examples"):
        for place, (kind, seed) in enumerate(kinds):
            with st.container(key=f"drawing{place}", gap=None):
                st.image(example_picture(kind, seed), width="stretch", alt="")
                st.button(f"Example: {spoken(kind)}", key=f"take{place}", on_click=choose_example, args=(kind, seed))


def choose_example(kind: str, seed: int):
    "The example becomes the picture."
    st.session_state.example = (kind, seed)


def no_model():
    "No model yet: offer to train one, and show how far it is."
    job = training_job()
    if job.running:
        watch_training()
        return
    if job.failed:
        st.error(f"The training has stopped. It said: {plain(job.last_words())}", icon=":material/error:")
    own = Path("data/processed/config.json").is_file() or Path("data/raw").is_dir()  # what the command would train on
    with st.container(key="no_model", border=True):
        st.subheader("There is no trained model yet")
        st.write("Nothing has been learned so far, so there is nobody to ask. Train a model right here: "
                 + ("a network learns from your pictures in the folder `data`. " if own else
                    "the computer draws twenty kinds of vehicle, and a small network learns to tell them apart. ")
                 + "On two processor cores that takes a few minutes, and needs no download.")
        if st.button("Train on my pictures" if own else "Train the demo model", type="primary", icon=":material/model_training:"):
            job.start()
            st.rerun()
        st.write("Or do it in a terminal, and reload this page:")
        st.code("accelerate launch -m vehicle_nb.train", language="bash")


@st.fragment(run_every=1.0)
def watch_training():
    "Progress of the training, once a second; the page starts anew when it has ended."
    job = training_job()
    if not job.running:
        st.rerun(scope="app")
    now = job.progress()
    with st.container(key="training", border=True):
        st.subheader("A model is being trained")
        left = f", about {now.left} left" if now.left else ""
        st.progress(now.fraction if now.fraction is not None else 0.0, f"{spoken(now.stage)}{left}")
        epochs, right = st.columns(2)
        epochs.metric("Rounds through the pictures", f"{now.epoch} of {now.epochs}" if now.epochs else "–")
        right.metric("Right on pictures it has not seen", percent(now.accuracy, 1) if now.accuracy is not None else "–")
        st.caption("You may close this page and come back: the training goes on as long as the server runs.")
        with st.expander("What it says"):
            st.code("\n".join(list(job.lines)[-12:]) or "…", language=None)


main()
