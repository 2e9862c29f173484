"""The second page: what the model has learned from, what it knows, and how good it is."""

from pathlib import Path

import streamlit as st

from vehicle_nb.core import VehicleError
from vehicle_nb.evaluation.evaluate import bundle_data_dir
from vehicle_nb.evaluation.report import read_report
from vehicle_nb.serving import about, i18n, ui
from vehicle_nb.serving.batching import BatchingPredictor
from vehicle_nb.serving.i18n import Language
from vehicle_nb.serving.predictor import Predictor
from vehicle_nb.serving.ui import Run, escape_markdown
from vehicle_nb.serving.examples import provenance_text
from vehicle_nb.serving.web.shared import at_home, evaluation_job, example_images

state = st.session_state


def choose_model(runs: dict[str, Run], run: Run | None, broken: dict[str, str], say: Language):
    "Which of the models answers: the newest that can, until the visitor chooses another one."
    names = {name: say("{run} (damaged)", run=name) if name in broken else run.title(say) for name, run in runs.items()}
    state.model_choice = run.name if run else next(iter(broken))
    with st.container(key="models", height=220 if len(runs) > 6 else "content"):  # a list: a box would cut long names off
        st.radio(say("Model"), names, format_func=lambda name: escape_markdown(names.get(name, name)), key="model_choice",
                 on_change=lambda: st.query_params.update(model=state.model_choice))  # fmt: skip


def page(model: BatchingPredictor, say: Language):
    "The model's account of itself."
    predictor = model.predictor
    report, card = read_report(predictor.path), about.read_card(predictor.path)
    if learned := provenance_text(predictor.config, say):
        st.caption(escape_markdown(learned))
    grid = st.grid(min_column_width=210, gap="xsmall", border=True, key="facts")
    for label, value, detail in about.facts(predictor.config, report, say):
        with grid.container(gap=None):
            st.metric(escape_markdown(label), value)
            st.caption(escape_markdown(detail))
    st.html(f'<h2 class="part">{say("What it knows")}</h2>')
    shown = {name: jpeg for name, _, jpeg in sorted(example_images(predictor, 1, 999))}
    st.html(ui.class_list(shown, predictor.classes, say))
    st.html(f'<h2 class="part">{say("How good it is")}</h2>')
    if report:
        charts(predictor, say)
    else:
        measure(predictor, say)
    if card:
        with st.expander(say("Model card"), icon=":material/description:"):
            st.markdown(card)


def charts(predictor: Predictor, say: Language):
    "What it finds, what it confuses, and how far its confidence can be trusted."
    changed = tuple(f.stat().st_mtime_ns for f in sorted((Path(predictor.path) / "report").iterdir()))
    recall, mistakes, reliability, matrix = draw((*ui.bundle_key(predictor.path), *changed), say.code)
    with st.container(key=f"charts_{st.context.theme.type}"):  # the style sheet inverts figures on a dark page
        left, right = st.columns(2, gap="large")
        left.caption(say("Of the pictures of each kind, so many are recognised (recall):"))
        left.html(recall)
        right.caption(say("The most frequent mistakes (true class → answer):"))
        right.html(mistakes or f"<p>{say('None.')}</p>")
        right.caption(say("When it says 80%, is it right in 80% of the cases? On the dashed line it is honest, below it is overconfident."))
        right.html(reliability or f"<p>{say('Too few test pictures to tell.')}</p>")
        with st.expander(say("All answers: rows are true classes, columns predicted classes")):
            st.html(matrix)


@st.cache_data(show_spinner=False, max_entries=16)
def draw(key: tuple, language: str) -> tuple[str, str, str, str]:
    "The charts of a bundle's report; `key` changes when the bundle or the report does."
    report, say = read_report(key[0]), i18n.languages()[language]
    kinds = (about.recall_bars, about.mistake_bars, about.reliability_figure, about.confusion_figure)
    return tuple(chart(report, say) for chart in kinds)


def measure(predictor: Predictor, say: Language):
    "Offer to evaluate the model, in the background, and show how far it is."
    job = evaluation_job(str(predictor.path))
    if job.running:
        watch_measurement(predictor, say)
        return
    if job.process is not None:
        st.error(say("The measurement has failed.") + (f" {escape_markdown(job.last_line())}" if at_home() else ""))
    st.write(say("This model has not been measured yet."))
    if not has_test_images(ui.bundle_key(predictor.path)):
        st.caption(say("The test pictures are not on this server."))
    elif st.button(say("Measure it now"), icon=":material/speed:", type="primary"):
        job.start()
        st.rerun()


@st.cache_data(show_spinner=False, max_entries=16, ttl=60)
def has_test_images(key: tuple) -> bool:
    "Does the processed set lie on this server on which a bundle was trained?"
    try:
        return Path(bundle_data_dir(key[0]), "test").is_dir()
    except VehicleError:
        return False


@st.fragment(run_every=1.0)
def watch_measurement(predictor: Predictor, say: Language):
    "Progress of the evaluation, once a second; the page starts again when it has ended."
    job = evaluation_job(str(predictor.path))
    if not job.running:
        st.rerun(scope="app")
    st.progress(job.fraction, say("The model is being measured on pictures that it has never seen …"))
