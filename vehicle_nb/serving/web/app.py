"""The page: drop an image, read which vehicle it shows. Start it with: vehicle_app

It is a thin layer: prediction is in vehicle_nb/serving/predictor.py, what the page says and shows in ui.py, the queue in front of the
network in batching.py, and what one visitor has uploaded and asked in session.py (lessons 15a, 15, 15a and 15b). VEHICLE_RUNS names
another folder of runs; VEHICLE_TRAIN holds options for the training that a visitor may start, such as "--epochs 10".
"""

import os
import shlex
import sys
from pathlib import Path
from urllib.parse import urlsplit

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from vehicle_nb.core import VehicleError
from vehicle_nb.demo.make import draw_vehicle
from vehicle_nb.evaluation.report import read_report
from vehicle_nb.serving import i18n, image_input, server, ui
from vehicle_nb.serving.batching import LIMITS, BatchingPredictor
from vehicle_nb.serving.i18n import Language
from vehicle_nb.serving.jobs import TrainingJob
from vehicle_nb.serving.predictor import Predictor
from vehicle_nb.serving.session import Session
from vehicle_nb.serving.ui import Run, escape_markdown

RUNS = Path(os.environ.get("VEHICLE_RUNS", "models"))
state = st.session_state


@st.cache_resource(show_spinner=False, max_entries=4)
def load_model(key: tuple) -> BatchingPredictor | VehicleError:
    "One model in memory for all visitors, or why it cannot be used; `key` changes when the files do."
    try:
        return BatchingPredictor(Predictor(key[0]))
    except VehicleError as error:
        print(f"vehicle_app: {error}", file=sys.stderr)  # for the operator of the server; visitors read no paths
        return error


@st.cache_data(show_spinner=False, max_entries=4)
def read_runs(folder: str, key: tuple) -> list[Run]:
    "All runs in the folder; `key` changes when one of them does, so that they are not read again on each click."
    return ui.read_runs(folder)


@st.cache_data(show_spinner=False, max_entries=16)
def charts(key: tuple, language: str) -> list[tuple[str, str]]:
    "The charts of a bundle's report; `key` changes when the bundle or the report does."
    return ui.charts(read_report(key[0]), i18n.languages()[language])


@st.cache_resource(show_spinner=False)
def training_job() -> TrainingJob:
    "The one training run that all visitors share."
    return TrainingJob(RUNS, shlex.split(os.environ.get("VEHICLE_TRAIN", "")))


@st.cache_data(show_spinner=False, max_entries=200)
def example_image(label: str, seed: int) -> bytes:
    "A drawn vehicle as a JPEG."
    return image_input.jpeg_thumbnail(draw_vehicle(label, seed), 512)


@st.cache_data(show_spinner=False)
def asset(file: str) -> str:
    "Style sheet and script: what Streamlit has no widget for."
    return Path(__file__).with_name(file).read_text(encoding="utf-8")


def main():
    st.set_page_config(page_title="Which vehicle is this?", page_icon="🚦", layout="wide", initial_sidebar_state="collapsed")
    say = i18n.languages()[state.setdefault("language", i18n.pick_language(st.context.locale))]
    session = Session(state)
    runs = [] if training_job().running else read_runs(str(RUNS), ui.runs_key(RUNS))
    head(session, say, bool(runs))
    if not runs:
        no_model(say)
        return
    by_name = {run.name: run for run in runs}
    model, broken = find_model(by_name)
    for name, why in broken.items():
        older = say("{run} cannot be used: an older model answers.", run=escape_markdown(name))
        st.warning(older if model else say("{run} cannot be used.", run=escape_markdown(name)), icon=":material/error:")
        if at_home():
            st.caption(escape_markdown(say.error(why)))
    if state.get("view") == "about" or not model:
        choose_model(by_name, model, broken, say)
    if not model:
        return
    if state.get("view") == "about":
        about_model(model.predictor, say)
    else:
        ask(session, model, say)


def find_model(runs: dict[str, Run]) -> tuple[BatchingPredictor | None, dict[str, str]]:
    "The model that the visitor has chosen, or the first that can be used; and why those before it cannot."
    broken = {}
    newest = next(iter(runs.values())).changed
    damaged = [name for name, run in runs.items() if run.error and run.changed > newest]  # visitors are told why an older one answers
    for name in [state.run] if state.get("run") in runs else [*damaged, *runs]:
        try:
            model = load_model(ui.bundle_key(runs[name].path))
        except OSError as error:  # the files have just been removed
            model = error
        if isinstance(model, BatchingPredictor):
            return model, broken
        broken[name] = str(model)
    return None, broken


def at_home() -> bool:
    "Is the visitor at the computer that runs the page, and so allowed to read its paths and commands?"
    return urlsplit(st.context.url or "").hostname in ("localhost", "127.0.0.1", "::1")


def head(session: Session, say: Language, model: bool):
    "Title, the two views of the page (if there is a model), the language, and the clipboard listener."
    st.html(f"<style>{asset('page.css')} {ui.widget_texts(say, LIMITS.upload_mb)}</style>")
    with st.container(key="head", horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        title, below = say("Which vehicle is this?"), say("It looks, and says how sure it is.")
        st.html(f'<header class="hero"><h1>{title}</h1><p>{below}</p></header>')
        with st.container(key="switches", horizontal=True, width="content"):
            if model:
                switch("view", say("Part of the page"), {"ask": say("Ask"), "about": say("About the model")})
            switch("language", say("Language"), {code: language.name for code, language in i18n.languages().items()})
    clipboard = st.components.v2.component("clipboard", js=asset("page.js"), isolate_styles=False)
    pasted = clipboard(key="clipboard", data={"language": say.code}, height=0, on_address_change=lambda: None)
    if pasted.address and model:
        session.fetch_url(pasted.address, say)


def switch(name: str, label: str, options: dict[str, str]):
    "A choice that is remembered although its texts change with the language."
    key = f"{name}_{state.language}"
    state.setdefault(name, next(iter(options)))
    st.segmented_control(label, options, format_func=options.get, default=state[name], key=key, required=True,
                         label_visibility="collapsed", on_change=lambda: state.update({name: state[key]}))


# --- asking ---------------------------------------------------------------------------------------------------------------


def ask(session: Session, model: BatchingPredictor, say: Language):
    "An image comes in, its prediction appears below."
    input_fields(session, say)
    with st.container(key="result"):  # always there, so that what is below keeps its place while a prediction is made
        if state.shown:
            one_image(session, model, say, *state.shown)
        elif files := given_files():
            predict_files(session, model, files, say)
    examples(model.predictor, say)
    history(session, say)
    private = say("Pictures stay in this computer’s memory while you look at them. Nothing is stored, nothing is sent on.")
    st.html(f"<footer>{private}</footer>")


def input_fields(session: Session, say: Language):
    "Upload, clipboard, web address or camera: the newest counts."
    with st.container(key="input"):
        left, right = st.columns([8, 5], gap="medium")
    on_upload = lambda: session.on_upload(given_files())  # noqa: E731
    with left:
        st.file_uploader(say("One picture or many"), key=f"files{state.upload_key}", accept_multiple_files=True, on_change=on_upload,
                         label_visibility="collapsed", max_upload_size=LIMITS.upload_mb)
    with right:
        st.text_input(say("Web address of a picture"), key="address", placeholder=say("… or its address: https://"),
                      label_visibility="collapsed", on_change=lambda: session.fetch_url(state.address, say), icon=":material/link:")
        text = say("Close the camera") if state.get("camera_on") else say("Use the camera")
        st.button(text, icon=":material/photo_camera:", width="stretch", key="camera_button",
                  on_click=lambda: state.update(camera_on=not state.get("camera_on"), shown=None))
    if state.get("camera_on"):
        st.camera_input(say("Take a picture"), key="camera", on_change=on_upload, width=480, label_visibility="collapsed")
    if state.problem:
        st.error(state.problem, icon=":material/link_off:")


def given_files() -> list:
    "The images that were uploaded, or the one that was just taken with the camera."
    if state.get("camera_on"):
        return [state.camera] if state.get("camera") else []
    return state.get(f"files{state.upload_key}") or []


def predict_files(session: Session, model: BatchingPredictor, files: list, say: Language):
    "A single new image is shown large; several are a gallery."
    if len(files) > LIMITS.max_images:
        st.warning(say("{n} pictures at once are too many: these are the first {most}.", n=len(files), most=LIMITS.max_images))
        files = files[: LIMITS.max_images]
    if large := session.large_file(files):
        one_image(session, model, say, large.name, large.getvalue(), large.file_id)
    if len(files) > 1:
        many_images(session, model, files, say)


def one_image(session: Session, model: BatchingPredictor, say: Language, name: str, data: bytes, file_id: str = ""):
    "The prediction in large type, the bars, and the image beside them."
    entry = session.predict(model, name, data, file_id)
    prediction = entry.prediction
    if prediction.error:
        if state.problem:  # an address has failed since: that is what the visitor wants to know about now
            return
        why = say("{name} cannot be used: {why}.", name=escape_markdown(name), why=escape_markdown(say.error(prediction.error)))
        st.error(f"{why} {say('Try another picture.')}", icon=":material/broken_image:")
        return
    with st.container(key="prediction"):  # the sign comes first on a phone, and stands on the right of a wide page
        right, left = st.columns([6, 5], gap="large")
    with right:
        st.html(ui.sign(prediction, say))
        st.caption(say("The best guesses") if prediction.known else say("If it had to be one of those that I know:"))
        st.html(ui.top_bars(prediction, 5, say))
    with left:
        wanted = state.get("heatmap", False)
        heatmap = ui.grad_cam_image(model.predictor, entry.jpeg, prediction) if wanted else None
        with st.container(key="image"):
            st.image(entry.jpeg if heatmap is None else heatmap, width="stretch", alt=say("The picture {name}", name=name))
        st.toggle(say("Show where it looked"), key="heatmap", help=say("Bright places spoke for the best guess (Grad-CAM)."))
        if wanted and heatmap is None:
            st.caption(say("This kind of network cannot show that."))


def many_images(session: Session, model: BatchingPredictor, files: list, say: Language):
    "A gallery to sort and filter, and a table to download."
    bar, text = st.empty(), say("Looking at {n} pictures …", n=len(session.pending(model, files)))
    predictions, thumbnails = session.predict_files(model, files, lambda share: bar.progress(share, text))
    bar.empty()
    st.html(ui.gallery_summary(predictions, say))
    with st.container(key="tools", horizontal=True, vertical_alignment="bottom"):
        order = st.selectbox(say("Order"), ui.ORDERS, format_func=say, width=190, key=f"order_{say.code}")
        labels = sorted({p.label for p in predictions if not p.error}, key=lambda label: (label is None, label or ""))
        names = {(): say("All"), **{(label,): say.label(label) for label in labels}}
        only = st.selectbox(say("Show"), names, format_func=lambda c: names.get(c, c), width=220, key=f"only_{say.code}")
        st.download_button(say("Table (CSV)"), lambda: ui.csv_bytes(predictions), "vehicles.csv", "text/csv", icon=":material/download:",
                           on_click="ignore")
        st.button(say("Clear"), icon=":material/close:", type="tertiary", on_click=clear, args=[session])
    places = ui.arrange(predictions, order, only)
    st.html(ui.gallery(ui.card(predictions[i], thumbnails[i], say) for i in places[: state.cards]))
    if len(places) > state.cards and st.button(say("Show more ({n} left)", n=len(places) - state.cards)):
        state.cards += LIMITS.cards
        st.rerun()


def clear(session: Session):
    "Start with an empty page, and keep none of this visitor's files."
    session.clear()
    context = get_script_run_ctx()
    context.uploaded_file_mgr.remove_session_files(context.session_id)


def image_buttons(key: str, images: list[tuple]):
    "Images to click: (JPEG, text, caption or nothing, what to show)."
    with st.container(key=key):
        for place, (jpeg, text, caption, shown) in enumerate(images):
            with st.container(key=f"{key}_image{place}", gap=None):
                st.image(jpeg, width="stretch", alt="")
                if caption:
                    st.html(f'<div class="below" aria-hidden="true">{caption}</div>')
                choice = {"shown": shown, "problem": None, "camera_on": False}
                st.button(text, key=f"{key}_take{place}", on_click=state.update, kwargs=choice)


def examples(predictor: Predictor, say: Language):
    "Drawn vehicles, one click away; a narrow strip once there is a prediction (the style sheet sees to that)."
    seed = state.setdefault("example_seed", 0)
    drawn = ui.example_classes(predictor.classes, seed, 12)
    if not drawn:
        return
    with st.container(key="examples_head", horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.html(f'<div class="or">{say("No picture at hand? Take a drawing:")}</div>', width="content")
        st.button(say("Others"), icon=":material/shuffle:", type="tertiary", on_click=lambda: state.update(example_seed=seed + 1))
    images = []
    for label, number in drawn:
        data, name = example_image(label, number), say.class_name(label)
        shown = (say("a drawing ({label})", label=name.lower()), data, f"{label} {number}")
        images.append((data, say("Example: {label}", label=name), "", shown))
    image_buttons("examples", images)


def history(session: Session, say: Language):
    "What was asked in this session: one click brings it back."
    if len(state.history) < 2:
        return
    with st.container(key="history_head", horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.html(f'<h2 class="part">{say("Seen in this visit")}</h2>', width="content")
        st.button(say("Forget all"), icon=":material/delete:", type="tertiary", on_click=clear, args=[session])
    image_buttons("history", session.history_buttons(say))


# --- the model --------------------------------------------------------------------------------------------------------------


def choose_model(runs: dict[str, Run], model: BatchingPredictor | None, broken: dict[str, str], say: Language):
    "Which of the models answers: the newest that can, until the visitor chooses another one."
    # A list, not a box that folds away: names of runs are long, and a box would cut them off.
    with st.container(key="models", height=220 if len(runs) > 6 else "content"):
        names = {name: say("{run} (damaged)", run=name) if name in broken else run.title(say) for name, run in runs.items()}
        key, chosen = f"model_{say.code}", Path(model.predictor.path).name if model else next(iter(broken))
        st.radio(say("Model"), names, index=list(names).index(chosen), format_func=lambda c: names.get(c, c), key=key,
                 on_change=lambda: state.update(run=state[key]))


def about_model(predictor: Predictor, say: Language):
    "What a visitor may want to know: which classes it knows, how good it is, how far its confidence can be trusted."
    report, card = read_report(predictor.path), ui.read_card(predictor.path)
    st.html(ui.tiles(ui.facts(predictor.config, report, say)))
    st.html(f'<h2 class="part">{say("What it knows")}</h2>')
    drawn = {label: example_image(label, seed) for label, seed in sorted(ui.example_classes(predictor.classes, 1, 99))}
    st.html(ui.class_list(drawn, predictor.classes, say))
    st.html(f'<h2 class="part">{say("How good it is")}</h2>')
    if report:
        changed = tuple(f.stat().st_mtime_ns for f in sorted((Path(predictor.path) / "report").iterdir()))
        wide = st.container(key=f"charts_{st.context.theme.type}")  # the style sheet inverts figures on a dark page
        places = [*wide.columns(2, gap="large"), wide]
        *small, large = charts((*ui.bundle_key(predictor.path), *changed), say.code)
        for place, (words, chart) in zip([*places[: len(small)], wide], [*small, large], strict=True):
            place.caption(words)
            place.html(chart)
    else:
        st.write(say("This model has not been evaluated yet."))
        if at_home():
            st.write(say("This command evaluates it, and the results will appear here:"))
            st.code(f"vehicle_evaluate --bundle {predictor.path}", language="bash", wrap_lines=True)
    if card:
        with st.expander(say("Model card"), icon=":material/description:"):
            st.markdown(card)


def no_model(say: Language):
    "No model yet: offer to train one, and show how far it is."
    job = training_job()
    if job.running:
        watch_training(say)
        return
    if job.failed:
        reason = say("The training has stopped. Its last line: {line}", line=escape_markdown(job.last_line())) if at_home() else ""
        st.error(reason or say("The training has stopped."), icon=":material/error:")
    own = Path("data/processed/config.json").is_file() or Path("data/raw").is_dir()  # what the command would train on
    with st.container(key="no_model", border=True):
        st.subheader(say("There is no trained model yet"))
        what, label = ui.offer_texts(own, say)
        st.write(what)
        if st.button(label, type="primary", icon=":material/model_training:"):
            job.start()
            st.rerun()
        if at_home():
            st.write(say("Or do it in a terminal, and reload this page:"))
            st.code("accelerate launch -m vehicle_nb.train", language="bash", wrap_lines=True)


@st.fragment(run_every=1.0)
def watch_training(say: Language):
    "Progress of the training, once a second; the page starts again when it has ended."
    job = training_job()
    if not job.running:
        st.rerun(scope="app")
    now = job.progress()
    words, epochs, accuracy = ui.progress_texts(now, say)
    with st.container(key="training", border=True):
        st.subheader(say("A model is being trained"))
        st.progress(now.fraction or 0.0, words)
        left, right = st.columns(2)
        left.metric(say("Epochs (passes through all pictures)"), epochs)
        right.metric(say("Accuracy on pictures it has not seen"), accuracy)
        st.caption(say("You may close this page and come back: the training goes on as long as the server runs."))
        if at_home():
            with st.expander(say("Its output")):
                st.code("\n".join(list(job.lines)[-12:]) or "…", language=None, wrap_lines=True)


if __name__ == "__main__":  # Streamlit runs this file for each visitor, on each click
    main()
else:  # the server has read it once, before the first visitor comes
    app = st.App(**server.configure_server())
