"""The page: drop an image, read which vehicle it shows. Start it with: vehicle_app

It is a thin layer: prediction is in vehicle_nb/serving/predictor.py, what the page says and shows in ui.py and about.py, the queue in
front of the network in batching.py, and what one visitor has uploaded and asked in session.py (parts 14d, 15i, 15h, 15a and 15b). This
file chooses language and model and leads to the two pages, ask.py and about.py. VEHICLE_RUNS names another folder of runs;
VEHICLE_TRAIN holds options for the training that a visitor may start, such as "--epochs 10".
"""

import html
from pathlib import Path

import streamlit as st

from vehicle_nb.serving import i18n, server, ui
from vehicle_nb.serving.batching import LIMITS, BatchingPredictor
from vehicle_nb.serving.i18n import Language
from vehicle_nb.serving.session import Session
from vehicle_nb.serving.ui import Run, escape_markdown
from vehicle_nb.serving.web import about, ask
from vehicle_nb.serving.web.shared import RUNS, asset, at_home, load_model, page_script, read_runs, training_job

state = st.session_state


def main():
    say, session = visitor_language(), Session(state)
    runs = [] if training_job().running else read_runs(str(RUNS), ui.runs_key(RUNS))
    by_name = {run.name: run for run in runs}
    model, broken = find_model(by_name) if runs else (None, {})
    words = ui.page_words(model.predictor.config if model else {"classes": list(say.classes)}, say)
    run = by_name[Path(model.predictor.path).name] if model else None

    def ask_page():
        head(words.title, say("It looks, and says how sure it is."), pages, run, say)
        warn_broken(broken, bool(model), say)
        if model:
            ask.page(session, model, run, words, say)
        else:
            without_answers(by_name, broken, say)

    def about_page():
        head(say("About the model"), "", pages, run, say)
        warn_broken(broken, bool(model), say)
        if not model:
            without_answers(by_name, broken, say)
            return
        if len(by_name) > 1:
            about.choose_model(by_name, run, broken, say)
        about.page(model, say)
        page_script(say, run.name)

    pages = {
        say("Identify"): st.Page(ask_page, title=words.title, url_path="", default=True),
        say("The model"): st.Page(about_page, title=say("About the model"), url_path="about"),
    }
    st.set_page_config(page_icon="🚦", layout="wide")
    st.navigation(list(pages.values()), position="hidden").run()


def visitor_language() -> Language:
    "What the address says, or the visitor has chosen, or the browser asks for."
    asked, languages = st.query_params.get("lang"), i18n.languages()
    state.language = asked if asked in languages else state.get("language") or i18n.pick_language(st.context.locale)
    return languages[state.language]


def find_model(runs: dict[str, Run]) -> tuple[BatchingPredictor | None, dict[str, str]]:
    "The model that the address names, or the first that can be used; and why those before it cannot."
    broken, wanted = {}, st.query_params.get("model")
    newest = next(iter(runs.values())).changed
    damaged = [name for name, run in runs.items() if run.error and run.changed > newest]  # visitors are told why an older one answers
    for name in [wanted] if wanted in runs else [*damaged, *runs]:
        try:
            model = load_model(ui.bundle_key(runs[name].path))
        except OSError as error:  # the files have just been removed
            model = error
        if isinstance(model, BatchingPredictor):
            return model, broken
        broken[name] = str(model)
    return None, broken


def head(title: str, below: str, pages: dict[str, st.Page], run: Run | None, say: Language):
    "Title, links to the pages (if there is a model), and the language."
    st.html(f"<style>{asset('page.css')} {ui.css_variables(ui.widget_texts(say, LIMITS.upload_mb))}</style>")
    with st.container(key="head", horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.html(f'<header class="hero"><h1>{html.escape(title)}</h1>{f"<p>{below}</p>" if below else ""}</header>')
        with st.container(key="switches", horizontal=True, width="content", vertical_alignment="center"):
            if run:
                here = {"lang": say.code, "model": run.name}
                for label, page in pages.items():
                    st.page_link(page, label=label, query_params=here)
            state.language_switch = say.code
            st.segmented_control(
                say("Language"), [language.code for language in i18n.languages().values()], key="language_switch", required=True,
                format_func=lambda code: i18n.languages()[code].name, label_visibility="collapsed", on_change=switch_language,
            )  # fmt: skip


def switch_language():
    "The address says the language, so that it outlives a reload and can be sent to others."
    st.query_params["lang"] = state.language_switch


def warn_broken(broken: dict[str, str], answers: bool, say: Language):
    "Say which models cannot be used, and at home why."
    for name, why in broken.items():
        older = say("{run} cannot be used: an older model answers.", run=escape_markdown(name))
        st.warning(older if answers else say("{run} cannot be used.", run=escape_markdown(name)), icon=":material/error:")
        if at_home():
            st.caption(escape_markdown(say.error(why)))


def without_answers(runs: dict[str, Run], broken: dict[str, str], say: Language):
    "No model that can answer: choose another one, or train the first."
    page_script(say)
    if runs:
        about.choose_model(runs, None, broken, say)
    else:
        no_model(say)


# --- no model yet -----------------------------------------------------------------------------------------------------------


def no_model(say: Language):
    "Offer to train one, and show how far it is."
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
