"""The page: drop a picture, read which vehicle it shows. Start it with: vehicle_app

It is a thin layer: prediction lives in vehicle_nb/serving/predictor.py, what the page says and shows in vehicle_nb/serving/ui.py, the desk
that serves many visitors in vehicle_nb/serving/batching.py (lessons 08, 09 and 14). VEHICLE_MODELS names another folder of
models; VEHICLE_TRAIN holds options for the training that a visitor may start, such as "--minutes 10".
"""

import os
import shlex
import sys
from pathlib import Path
from urllib.parse import urlsplit

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from vehicle_nb.serving import i18n
from vehicle_nb.serving import jobs
from vehicle_nb.serving import ui as page
from vehicle_nb.serving import server
from vehicle_nb.serving import batching as visitors
from vehicle_nb.models.bundle import list_bundles, why_broken
from vehicle_nb.core import VehicleError
from vehicle_nb.demo.make import draw_vehicle
from vehicle_nb.serving.predictor import Predictor
from vehicle_nb.serving.i18n import Language
from vehicle_nb.serving.ui import plain
from vehicle_nb.serving.batching import LIMITS, AnswerDesk, Visit

MODELS = Path(os.environ.get("VEHICLE_MODELS", "models"))
state = st.session_state


@st.cache_resource(show_spinner=False, max_entries=4)
def load_desk(key: tuple) -> AnswerDesk | VehicleError:
    "One model in memory for all visitors, or why it cannot be used; `key` changes when the files do."
    try:
        return AnswerDesk(Predictor(key[0]))
    except VehicleError as error:
        print(f"vehicle_app: {error}", file=sys.stderr)  # for whoever runs the server; visitors read no paths
        return error


@st.cache_resource(show_spinner=False)
def training_job() -> jobs.TrainingJob:
    "The one training run that all visitors share."
    return jobs.TrainingJob([*jobs.TRAIN_COMMAND, "--models", str(MODELS), *shlex.split(os.environ.get("VEHICLE_TRAIN", ""))])


@st.cache_data(show_spinner=False, max_entries=200)
def example_picture(kind: str, seed: int) -> bytes:
    "A drawn vehicle as a JPEG."
    return page.thumbnail(draw_vehicle(kind, seed), 512)


@st.cache_data(show_spinner=False)
def looks(file: str) -> str:
    "Style and script: what Streamlit has no widget for."
    return Path(__file__).with_name(file).read_text(encoding="utf-8")


def main():
    st.set_page_config(page_title="Which vehicle is this?", page_icon="🚦", layout="wide", initial_sidebar_state="collapsed")
    say = i18n.languages()[state.setdefault("language", i18n.pick_language(st.context.locale))]
    visit = Visit(state)
    bundles = [] if training_job().running else list_bundles(MODELS)
    head(visit, say, bool(bundles))
    if not bundles:
        no_model(say)
        return
    paths = {path.name: path for path in bundles}
    desk, broken = find_desk(paths)
    for run, why in broken.items():
        older = say("{run} cannot be used: an older model answers.", run=plain(run))
        st.warning(older if desk else say("{run} cannot be used.", run=plain(run)), icon=":material/error:")
        if at_home():
            st.caption(plain(say.error(why)))
    if state.get("place") == "about" or not desk:
        choose_model(paths, desk, broken, say)
    if not desk:
        return
    if state.get("place") == "about":
        about_model(desk.predictor, say)
    else:
        ask(visit, desk, say)


def find_desk(paths: dict[str, Path]) -> tuple[AnswerDesk | None, dict[str, str]]:
    "The model that the visitor has chosen, or else the first that can be used; and why others before it cannot."
    broken = {}
    for run in [state.run] if state.get("run") in paths else [*damaged_since(paths), *paths]:
        try:
            desk = load_desk(page.bundle_key(paths[run]))
        except OSError as error:  # the files have just gone
            desk = error
        if isinstance(desk, AnswerDesk):
            return desk, broken
        broken[run] = str(desk)
    return None, broken


def damaged_since(paths: dict[str, Path]) -> list[str]:
    "Models that are newer than the first one and, at a quick look, cannot be used: visitors shall know why an older one answers."
    made = {run: (path / "model.safetensors").stat().st_mtime for run, path in paths.items()}
    return [run for run, path in paths.items() if made[run] > made[next(iter(paths))] and why_broken(path)]


def at_home() -> bool:
    "Is the visitor at the computer that runs the page, and so the one who may read its paths and commands?"
    return urlsplit(st.context.url or "").hostname in ("localhost", "127.0.0.1", "::1")


def head(visit: Visit, say: Language, model: bool):
    "Title, the two places of the page (where there is a model to ask), the language, and an ear for what is pasted."
    st.html(f"<style>{looks('page.css')} {page.widget_words(say, LIMITS.upload_mb)}</style>")
    with st.container(key="head", horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        title, below = say("Which vehicle is this?"), say("It looks, and says how sure it is.")
        st.html(f'<header class="hero"><h1>{title}</h1><p>{below}</p></header>')
        with st.container(key="switches", horizontal=True, width="content"):
            places = {"ask": say("Ask"), "about": say("About the model")}
            if model:
                switch("place", say("Part of the page"), places)
            switch("language", say("Language"), {code: language.name for code, language in i18n.languages().items()})
    clipboard = st.components.v2.component("clipboard", js=looks("page.js"), isolate_styles=False)
    pasted = clipboard(key="clipboard", data={"language": say.code}, height=0, on_address_change=lambda: None)
    if pasted.address and model:
        visit.fetch(pasted.address, say)


def switch(name: str, label: str, options: dict[str, str]):
    "A choice that is remembered although the words on it change with the language."
    key = f"{name}_{state.language}"
    state.setdefault(name, next(iter(options)))
    st.segmented_control(label, options, format_func=options.get, default=state[name], key=key, required=True,
                         label_visibility="collapsed", on_change=lambda: state.update({name: state[key]}))


# --- asking ---------------------------------------------------------------------------------------------------------------


def ask(visit: Visit, desk: AnswerDesk, say: Language):
    "A picture comes in, its answer stands below."
    take_pictures(visit, say)
    with st.container(key="told"):  # always there, so that what stands below keeps its place while an answer comes
        if state.one:
            one_picture(visit, desk, say, *state.one)
        elif files := given_files():
            answer_files(visit, desk, files, say)
    examples(desk.predictor, say)
    seen_before(visit, say)
    private = say("Pictures stay in this computer’s memory while you look at them. Nothing is stored, nothing is sent on.")
    st.html(f"<footer>{private}</footer>")


def take_pictures(visit: Visit, say: Language):
    "Upload, clipboard, web address or camera: the newest counts."
    with st.container(key="give"):
        left, right = st.columns([8, 5], gap="medium")
    came = lambda: visit.came(given_files())  # noqa: E731
    with left:
        st.file_uploader(say("One picture or many"), key=f"files{state.round}", accept_multiple_files=True, on_change=came,
                         label_visibility="collapsed", max_upload_size=LIMITS.upload_mb)
    with right:
        st.text_input(say("Web address of a picture"), key="address", placeholder=say("… or its address: https://"),
                      label_visibility="collapsed", on_change=lambda: visit.fetch(state.address, say), icon=":material/link:")
        text = say("Close the camera") if state.get("camera_on") else say("Use the camera")
        st.button(text, icon=":material/photo_camera:", width="stretch", key="camera_button",
                  on_click=lambda: state.update(camera_on=not state.get("camera_on"), one=None))
    if state.get("camera_on"):
        st.camera_input(say("Take a picture"), key="camera", on_change=came, width=480, label_visibility="collapsed")
    if state.problem:
        st.error(state.problem, icon=":material/link_off:")


def given_files() -> list:
    "The pictures that were uploaded, or the one that was just taken."
    if state.get("camera_on"):
        return [state.camera] if state.get("camera") else []
    return state.get(f"files{state.round}") or []


def answer_files(visit: Visit, desk: AnswerDesk, files: list, say: Language):
    "A single new picture gets the large answer; several are a gallery."
    if len(files) > LIMITS.pictures:
        st.warning(say("{n} pictures at once are too many: these are the first {most}.", n=len(files), most=LIMITS.pictures))
        files = files[: LIMITS.pictures]
    if large := visit.large(files):
        one_picture(visit, desk, say, large.name, large.getvalue(), large.file_id)
    if len(files) > 1:
        many_pictures(visit, desk, files, say)


def one_picture(visit: Visit, desk: AnswerDesk, say: Language, name: str, data: bytes, file_id: str = ""):
    "The answer in large type, the chart, and the picture beside them."
    seen = visit.answer(desk, name, data, file_id)
    if seen.answer.error:
        if state.problem:  # an address has failed since: that is what the visitor wants to know about now
            return
        why = say("{name} cannot be used: {why}.", name=plain(name), why=plain(say.error(seen.answer.error)))
        st.error(f"{why} {say('Try another picture.')}", icon=":material/broken_image:")
        return
    with st.container(key="answer"):  # the sign comes first on a phone, and stands on the right of a wide page
        right, left = st.columns([6, 5], gap="large")
    with right:
        st.html(page.sign(seen.answer, say))
        st.caption(say("If it had to be one of those that I know:") if seen.answer.unknown else say("The best guesses"))
        st.html(page.top_chart(seen.answer, 5, say))
    with left:
        looked = state.get("looked", False)
        heat = page.where_image(desk.predictor, seen.jpeg, seen.answer) if looked else None
        with st.container(key="picture"):
            st.image(heat if heat is not None else seen.jpeg, width="stretch", alt=say("The picture {name}", name=name))
        st.toggle(say("Show where it looked"), key="looked", help=say("Bright places spoke for the best guess (Grad-CAM)."))
        if looked and heat is None:
            st.caption(say("This kind of network does not tell."))


def many_pictures(visit: Visit, desk: AnswerDesk, files: list, say: Language):
    "A gallery to sort and filter, and the table to take home."
    bar, text = st.empty(), say("Looking at {n} pictures …", n=len(visit.unanswered(desk, files)))
    answers, pictures = visit.answers(desk, files, lambda share: bar.progress(share, text))
    bar.empty()
    st.html(page.summary(answers, say))
    with st.container(key="tools", horizontal=True, vertical_alignment="bottom"):
        order = st.selectbox(say("Order"), page.ORDERS, format_func=say, width=190, key=f"order_{say.code}")
        names = {None: say("All"), **{c: say.label(c) for c in sorted({a.label for a in answers if not a.error})}}
        only = st.selectbox(say("Show"), names, format_func=lambda c: names.get(c, c), width=220, key=f"only_{say.code}")
        st.download_button(say("Table (CSV)"), lambda: page.table_csv(answers), "vehicles.csv", "text/csv", icon=":material/download:",
                           on_click="ignore")
        st.button(say("Clear"), icon=":material/close:", type="tertiary", on_click=forget, args=[visit])
    places = page.arrange(answers, order, only)
    st.html(page.gallery(page.card(answers[i], pictures[i], say) for i in places[: state.shown]))
    if len(places) > state.shown and st.button(say("Show more ({n} left)", n=len(places) - state.shown)):
        state.shown += LIMITS.cards
        st.rerun()


def forget(visit: Visit):
    "Start with an empty page, and keep none of this visitor's files."
    visit.forget()
    context = get_script_run_ctx()
    context.uploaded_file_mgr.remove_session_files(context.session_id)


def picture_buttons(key: str, pictures: list[tuple]):
    "Pictures to click: (JPEG, words, words below or nothing, what to show)."
    with st.container(key=key):
        for place, (jpeg, words, below, one) in enumerate(pictures):
            with st.container(key=f"{key}_picture{place}", gap=None):
                st.image(jpeg, width="stretch", alt="")
                if below:
                    st.html(f'<div class="below" aria-hidden="true">{below}</div>')
                st.button(words, key=f"{key}_take{place}", on_click=state.update, kwargs={"one": one, "problem": None, "camera_on": False})


def examples(predictor: Predictor, say: Language):
    "Drawn vehicles, one click away; a narrow strip once there is an answer (the style sheet sees to that)."
    turn = state.setdefault("turn", 0)
    kinds = page.example_kinds(predictor.classes, turn, 12)
    if not kinds:
        return
    with st.container(key="examples_head", horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.html(f'<div class="or">{say("No picture at hand? Take a drawing:")}</div>', width="content")
        st.button(say("Others"), icon=":material/shuffle:", type="tertiary", on_click=lambda: state.update(turn=turn + 1))
    shown = []
    for kind, seed in kinds:
        data, name = example_picture(kind, seed), say("a drawing ({kind})", kind=say.kind(kind).lower())
        shown.append((data, say("Example: {kind}", kind=say.kind(kind)), "", (name, data, f"{kind} {seed}")))
    picture_buttons("examples", shown)


def seen_before(visit: Visit, say: Language):
    "What was asked in this visit: one click brings it back."
    if len(state.history) < 2:
        return
    with st.container(key="visit_head", horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.html(f'<h2 class="part">{say("Seen in this visit")}</h2>', width="content")
        st.button(say("Forget all"), icon=":material/delete:", type="tertiary", on_click=forget, args=[visit])
    picture_buttons("visit", visit.again(say))


# --- the model --------------------------------------------------------------------------------------------------------------


def choose_model(paths: dict[str, Path], desk: AnswerDesk | None, broken: dict[str, str], say: Language):
    "Which of the models answers: the newest that can, until the visitor chooses another one."
    # A list, not a box that folds away: names of runs are long, and a box would cut them off.
    with st.container(key="models", height=220 if len(paths) > 6 else "content"):
        damaged = {name: say("{run} (damaged)", run=name) for name, path in paths.items() if name in broken or why_broken(path)}
        names = {name: damaged.get(name) or page.bundle_label(path, say) for name, path in paths.items()}
        key, run = f"model_{say.code}", Path(desk.predictor.path).name if desk else next(iter(broken))
        st.radio(say("Model"), names, index=list(names).index(run), format_func=lambda c: names.get(c, c), key=key,
                 on_change=lambda: state.update(run=state[key]))


def about_model(predictor: Predictor, say: Language):
    "What a visitor may want to know: what it knows, how good it is, how honest it is."
    report, card = visitors.read_report(predictor.path), visitors.read_card(predictor.path)
    st.html(page.tiles(visitors.facts(predictor.config, report, say)))
    st.html(f'<h2 class="part">{say("What it knows")}</h2>')
    drawn = {kind: example_picture(kind, seed) for kind, seed in sorted(page.example_kinds(predictor.classes, 1, 99))}
    st.html(page.kinds_known(drawn, predictor.classes, say))
    st.html(f'<h2 class="part">{say("How good it is")}</h2>')
    if report:
        charts = visitors.charts(report, st.context.theme.type == "dark", say)
        for place, (words, chart) in zip([*st.columns(2, gap="large"), st.container()], charts, strict=False):
            place.caption(words)
            place.altair_chart(chart, width="stretch", theme=None, alt=words)
    else:
        st.write(say("Nobody has measured this model in full yet."))
        if at_home():
            st.write(say("This command does, and its figures will stand here:"))
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
        told = say("The training has stopped. It said: {words}", words=plain(job.last_words())) if at_home() else ""
        st.error(told or say("The training has stopped."), icon=":material/error:")
    own = Path("data/processed/config.json").is_file() or Path("data/raw").is_dir()  # what the command would train on
    with st.container(key="no_model", border=True):
        st.subheader(say("There is no trained model yet"))
        what, label = page.offer_words(own, say)
        st.write(what)
        if st.button(label, type="primary", icon=":material/model_training:"):
            job.start()
            st.rerun()
        if at_home():
            st.write(say("Or do it in a terminal, and reload this page:"))
            st.code("accelerate launch -m vehicle_nb.train", language="bash", wrap_lines=True)


@st.fragment(run_every=1.0)
def watch_training(say: Language):
    "Progress of the training, once a second; the page starts anew when it has ended."
    job = training_job()
    if not job.running:
        st.rerun(scope="app")
    now = job.progress()
    words, rounds, accuracy = page.progress_words(now, say)
    with st.container(key="training", border=True):
        st.subheader(say("A model is being trained"))
        st.progress(now.fraction or 0.0, words)
        left, right = st.columns(2)
        left.metric(say("Rounds through the pictures"), rounds)
        right.metric(say("Right on pictures it has not seen"), accuracy)
        st.caption(say("You may close this page and come back: the training goes on as long as the server runs."))
        if at_home():
            with st.expander(say("What it says")):
                st.code("\n".join(list(job.lines)[-12:]) or "…", language=None, wrap_lines=True)


if __name__ == "__main__":  # Streamlit runs this file for each visitor, on each click
    main()
else:  # the server has read it once, before the first visitor comes
    app = st.App(**server.set_up_server())
