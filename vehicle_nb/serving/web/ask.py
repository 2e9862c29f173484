"""The first page: an image comes in, its answer appears."""

from math import ceil
from urllib.parse import urlsplit

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFileRec

from vehicle_nb.core import VehicleError
from vehicle_nb.serving import ui
from vehicle_nb.serving.batching import LIMITS, BatchingPredictor
from vehicle_nb.serving.examples import nearest_examples
from vehicle_nb.serving.feedback import feedback_store
from vehicle_nb.serving.i18n import Language
from vehicle_nb.serving.session import HistoryEntry, Session, SessionImage
from vehicle_nb.serving.ui import PageWords, Run, escape_markdown
from vehicle_nb.serving.web.shared import example_images, page_script, picture_grid, visitor_id

state = st.session_state


def page(session: Session, model: BatchingPredictor, run: Run, words: PageWords, say: Language):
    "Answers on top, once there are images; below them the ways to bring some."
    result, below = st.container(key="result"), st.container(key="below")
    with below:
        st.space("xsmall" if state.images or state.incoming else "xxsmall")
        inputs(session, run, say)
        if not (state.images or state.incoming):
            examples(session, model, say)
        seen = st.container()
        footer(say)
    with result:  # last, so that nothing else waits for the network
        open_uploads(session, say)
        if len(state.images) > 1:
            gallery(session, model, run, words, say)
        elif state.images:
            answer(session, model, run, words, say, state.images[0])
            with seen:
                history(session, say)


# --- what comes in ----------------------------------------------------------------------------------------------------------


def inputs(session: Session, run: Run, say: Language):
    "Upload, clipboard, web address, camera or folder: the newest takes the place of those before."
    with st.container(key="input"):
        left, right = st.columns([8, 5], gap="medium")
    with left:
        upload_field(session, say("One picture or many"), f"files{state.upload_key}", False)
    with right:
        address_field(session, run, say)
        with st.container(key="sources", horizontal=True):
            text = say("Close the camera") if state.get("camera_on") else say("Use the camera")
            st.button(text, icon=":material/photo_camera:", key="camera_button",
                      on_click=lambda: state.update(camera_on=not state.get("camera_on")))  # fmt: skip
            with st.popover(say("A folder"), icon=":material/folder_open:", key="folder"):
                st.write(say("All pictures of a folder, and of those in it."))
                upload_field(session, say("A folder"), f"folder{state.upload_key}", False, "directory")
    if state.get("camera_on"):
        key = f"camera{state.upload_key}"
        st.camera_input(say("Use the camera"), key=key, on_change=receive_photo, args=[session, key], resolution="720p",
                        label_visibility="collapsed", width=640)  # fmt: skip


def upload_field(session: Session, label: str, key: str, add: bool, many: bool | str = True):
    "An upload field that is emptied as soon as something lies in it."
    st.file_uploader(label, key=key, accept_multiple_files=many, label_visibility="collapsed", max_upload_size=LIMITS.upload_mb,
                     on_change=lambda: session.receive(state.get(key) or [], add))  # fmt: skip


def receive_photo(session: Session, key: str):
    "The photo that was just taken; the camera has done its work."
    session.receive([state[key]] if state.get(key) else [])
    state.camera_on = False


@st.fragment
def address_field(session: Session, run: Run, say: Language):
    "A web address, typed or pasted anywhere; only this part of the page waits for the other server."

    def typed():
        state.wanted, state.address = state.address.strip(), ""

    pasted = page_script(say, run.name)
    st.text_input(say("Web address of a picture"), key="address", placeholder=say("… or its address: https://"), on_change=typed,
                  label_visibility="collapsed")  # fmt: skip
    if url := pasted.address or state.pop("wanted", ""):
        with st.spinner(say("Fetching the picture from {server} …", server=escape_markdown(urlsplit(url).hostname or url))):
            session.fetch_url(url)
        st.rerun()


def open_uploads(session: Session, say: Language):
    "Make images of what has come in, and say what could not be taken."
    received = {id for id, _, _ in state.incoming}
    if received:
        with st.spinner(say("Opening the files …")):
            count = st.empty()
            session.open_uploads(lambda n: count.caption(say("{n} pictures", n=n)) if n % 10 == 0 else None)
            count.empty()
    hold(received)
    if state.left_out:
        st.warning(say("At most {n} pictures at once: {left} were left out.", n=LIMITS.max_images, left=state.left_out))
    if state.problem:
        name, why = state.problem[0], escape_markdown(say.error(state.problem[1]))
        sentence = say("{name} cannot be used: {why}.", name=escape_markdown(name), why=why)
        st.error(sentence if name else say("This picture cannot be fetched: {why}.", why=why), icon=":material/broken_image:")


def hold(received: set[str]):
    "Streamlit keeps a visitor's files, and counts them: exactly those that the session still shows."
    context, held = get_script_run_ctx(), state.setdefault("held", set())
    images = {image.id: image for image in state.images if not image.example}
    for id in received | (held - images.keys()):
        context.uploaded_file_mgr.remove_file(context.session_id, id)
    for id in images.keys() - held:
        context.uploaded_file_mgr.add_file(context.session_id, UploadedFileRec(id, images[id].name, "", images[id].data))
    state.held = set(images)


# --- one answer -------------------------------------------------------------------------------------------------------------


def answer(session: Session, model: BatchingPredictor, run: Run, words: PageWords, say: Language, image: SessionImage, alone: bool = True):
    "The answer in large type, what speaks for it, and the image beside it."
    entry = session.predict(model, image)
    if entry.prediction.error:
        why = escape_markdown(say.error(entry.prediction.error))
        sentence = say("{name} cannot be used: {why}.", name=escape_markdown(image.name), why=why)
        st.error(f"{sentence} {say('Try another picture.')}", icon=":material/broken_image:")
        if alone:
            next_steps(session, say)
        return
    left, right = st.columns([6, 5], gap="medium")
    with left:
        st.html(ui.sign(entry.prediction, say, words.unknown))
        if alone:
            next_steps(session, say)
        explain(model, entry, say)
        st.caption(escape_markdown(say("Answer of the model {run}.", run=run.title(say))))
        if ui.is_drawn(model.predictor.config) and not entry.example:
            st.warning(say("This model has seen drawings only. What it says about a photo is often wrong."), icon=":material/draw:")
        feedback(model, run, entry, say)
    with right:
        looked_at(model, entry, say)


def next_steps(session: Session, say: Language):
    "What one may want to do now."
    with st.container(key="next", horizontal=True):
        if st.button(say("Add more"), icon=":material/add_photo_alternate:"):
            st.dialog(say("Add more pictures"))(add_more)(session, say)
        st.button(say("Start again"), icon=":material/restart_alt:", on_click=session.clear)


def add_more(session: Session, say: Language):
    "An upload field whose files join those that are there."
    upload_field(session, say("One picture or many"), f"more{state.upload_key}", True)
    if state.incoming:
        st.rerun()


def explain(model: BatchingPredictor, entry: HistoryEntry, say: Language):
    "Why this answer: the score against its threshold and the most similar examples; for a known class on request."
    prediction, predictor = entry.prediction, model.predictor
    if prediction.known:
        if bars := ui.top_bars(prediction, 5, say):
            st.html(bars)
        if not st.toggle(say("Show the most similar pictures"), key="similar"):
            return
    st.write(ui.score_words(prediction.ood_score, predictor.threshold, predictor.score, say))
    st.html(ui.score_bar(prediction.ood_score, predictor.threshold))
    if found := nearest_examples(predictor, entry.jpeg, 4):
        st.write(say("The most similar:") if prediction.known else say("Most like these, and not like enough:"))
        grid = st.grid(4, min_column_width=60, gap="xsmall", key="nearest")
        for name, path, _ in found:
            grid.image(path.read_bytes(), caption=escape_markdown(say.class_name(name)), width="stretch", alt="")  # the caption says it
    elif not prediction.known:
        names = ", ".join(say.class_name(name) for name, _ in prediction.top[:3])
        st.write(say("Most like these, and not like enough:"), escape_markdown(names))


def looked_at(model: BatchingPredictor, entry: HistoryEntry, say: Language):
    "The image, and on request beside it where the network found what speaks for its answer."
    wanted = state.get("heatmap", False)
    heatmap = ui.grad_cam_image(model.predictor, entry.jpeg, entry.prediction) if wanted else None
    with st.container(key="image"):
        places = st.columns(2 if heatmap is not None else 1, gap="small", wrap=False)
        places[0].image(entry.jpeg, width="stretch", alt=say("The picture {name}", name=entry.name))
        if heatmap is not None:
            places[1].image(heatmap, width="stretch", alt=say("The same picture; the warm places spoke for the answer"))
    st.toggle(say("Show where it looked"), key="heatmap", help=say("Warm colours mark what counted in favour of the answer (Grad-CAM)."))
    if wanted and heatmap is None:
        st.caption(say("This kind of network cannot show that."))


# --- correct it -------------------------------------------------------------------------------------------------------------


def feedback(model: BatchingPredictor, run: Run, entry: HistoryEntry, say: Language):
    "Right or wrong, the true class, and consent; only where the operator of the server has turned it on."
    store, prediction, codes = feedback_store(), entry.prediction, state.setdefault("codes", {})
    if store is None or entry.example:
        return
    if code := codes.get(entry.key):
        st.success(say("Thank you. Whoever has this code can delete what you sent:"))
        st.code(code, language=None)
        return
    mark = hash(entry.key)  # each picture is asked about anew, and for consent
    question, names = say("Is this right?"), {True: say("Right"), False: say("Wrong")}
    if not prediction.known:
        question, names = say("Can you help?"), {False: say("I know what it is")}
    right = st.segmented_control(question, names, format_func=names.get, key=f"right{mark}")
    if right is None:
        return
    label, other = (prediction.label, "") if right else true_class(model, mark, say)
    st.caption(say("Your picture, this answer and what you say here are kept on the server, and may help to train better models. "
                   "Your name and the place of the photo are not kept. You get a code with which you can delete all of it."))  # fmt: skip
    agreed = st.checkbox(say("Yes, keep my picture for that"), key=f"agreed{mark}")

    def send():
        try:
            answered = (entry.jpeg, prediction, right, label, other, run.name, visitor_id())
            codes[entry.key] = store.save(*answered, consent=agreed)
        except VehicleError as error:
            state.refused = str(error)

    st.button(say("Send"), type="primary", disabled=not (agreed and (label or other)), key=f"send{mark}", on_click=send)
    if why := state.pop("refused", ""):
        st.error(escape_markdown(say.error(why)))


def true_class(model: BatchingPredictor, mark: int, say: Language) -> tuple[str | None, str]:
    "What the image shows: one of the classes, or something else in the visitor's words."
    names = {name: say.class_name(name) for name in model.predictor.classes} | {"": say("Something else")}
    label = st.pills(say("What does the picture show?"), names, format_func=lambda name: escape_markdown(names[name]), key=f"class{mark}")
    other = st.text_input(say("In your words"), key=f"other{mark}", max_chars=60) if label == "" else ""
    return label or None, other.strip()


def delete_sent(say: Language):
    "Delete what was sent, by its code."
    code = st.text_input(say("The code that you got"), key="delete_code")
    if st.button(say("Delete"), key="delete_sent", disabled=not code):
        if feedback_store().delete(code.strip()):
            st.success(say("Deleted."))
        else:
            st.error(say("Nothing has this code."))


# --- many answers -----------------------------------------------------------------------------------------------------------


def gallery(session: Session, model: BatchingPredictor, run: Run, words: PageWords, say: Language):
    "A gallery to filter, sort and download; each card opens its answer."
    bar, text = st.empty(), say("Looking at {n} pictures …", n=len(session.pending(model)))
    predictions, thumbnails = session.predict_all(model, lambda share: bar.progress(share, text))
    bar.empty()
    st.html(f'<div role="status"><h2 class="part">{say("{n} pictures", n=len(predictions))}</h2></div>')
    groups = ui.count_groups(predictions, say)
    if state.get("only") not in groups:  # of pictures that were there before
        state.only = None
    only = st.pills(say("Show only"), groups, format_func=groups.get, key="only", label_visibility="collapsed")
    with st.container(key="tools", horizontal=True, vertical_alignment="bottom"):
        order = st.selectbox(say("Order"), ui.ORDERS, format_func=say, width=200, key="order", label_visibility="collapsed")
        next_steps(session, say)
        for kind, make, mime in (("CSV", ui.csv_bytes, "text/csv"), ("JSON", ui.json_bytes, "application/json")):
            st.download_button(kind, lambda make=make: make(predictions), f"answers.{kind.lower()}", mime, icon=":material/download:",
                               on_click="ignore", help=say("Download all answers"))  # fmt: skip
    places = ui.arrange(predictions, order, only)
    pages = ceil(len(places) / LIMITS.cards)
    state.cards = min(state.get("cards", 1), pages)
    first = LIMITS.cards * (state.cards - 1)
    shown = places[first : first + LIMITS.cards]
    cells = ((thumbnails[i], ui.card(predictions[i], say), predictions[i].name, None, None) for i in shown)
    pressed = picture_grid("gallery", cells, 6, 140)
    if pages > 1:
        st.pagination(pages, key="cards")
    if pressed is not None:
        image = state.images[shown[pressed]]
        st.dialog(escape_markdown(image.name), width="large")(answer)(session, model, run, words, say, image, False)


# --- examples, history, footer ----------------------------------------------------------------------------------------------


def examples(session: Session, model: BatchingPredictor, say: Language):
    "Pictures of what the model knows, one click away."
    seed = state.setdefault("example_seed", 0)
    if not (found := example_images(model.predictor, seed, 12)):
        return
    with st.container(key="examples_head", horizontal=True, wrap=False, vertical_alignment="center"):
        st.html(f'<h2 class="part">{say("No picture at hand? Try one of these:")}</h2>')
        st.button(say("Others"), icon=":material/shuffle:", type="tertiary", on_click=lambda: state.update(example_seed=seed + 1))
    cells = []
    for name, number, jpeg in found:
        title = say.class_name(name)
        image = SessionImage(f"{name} {number}", say("Example: {label}", label=title), jpeg, True)
        cells.append((jpeg, escape_markdown(title), "", session.show, image))
    picture_grid("examples", cells, 6, 90)


def history(session: Session, say: Language):
    "What was asked in this visit: one click brings it back."
    if len(state.history) < 2:
        return
    st.html(f'<h2 class="part">{say("Seen in this visit")}</h2>')
    cells = []
    for entry in state.history:
        image = SessionImage(entry.key[1], entry.name, entry.jpeg, entry.example)
        cells.append((entry.jpeg, ui.card(entry.prediction, say), "", session.show, image))
    picture_grid("history", cells, 8, 90)


def footer(say: Language):
    "Where the pictures go; and the way to delete what was sent."
    asks = feedback_store() is not None
    where = say("Your pictures go to the server that runs this page. It keeps them for this visit and not afterwards.")
    if asks:
        where = say("Your pictures go to the server that runs this page. It keeps them for this visit, and longer only if you agree.")
    st.html(f"<footer>{where}</footer>")
    if asks:
        with st.popover(say("Delete what I sent"), type="tertiary"):
            delete_sent(say)
