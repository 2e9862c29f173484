// The page around classify.js: where images come from, how answers are shown, and in which language.
import { DAMAGED, describe, load } from "./classify.js";

const able = "serviceWorker" in navigator; // to work without a network; browsers give it to https and localhost alone
const $ = (selector) => document.querySelector(selector);

// --- words: the language files of the Streamlit page; the English sentence is the key ---

const ENGLISH = { decimal: ".", percent_sign: "%", texts: {}, classes: {} };
let words = ENGLISH;

const say = (text, values = {}) => (words.texts[text] ?? text).replace(/{(\w+)}/g, (_, name) => values[name]);

function className(label) {
  const name = label.replaceAll("_", " ").trim();
  return words.classes[label.toLowerCase().replaceAll(" ", "_")] ?? name.slice(0, 1).toUpperCase() + name.slice(1);
}

function percent(p, digits = 0) { // never rounded to 0 % or 100 %
  const edge = 10 ** -digits;
  const [sign, value] = p > 1 - edge / 200 ? [">", 100 - edge] : p < edge / 200 ? ["<", edge] : ["", 100 * p];
  return sign + value.toFixed(digits).replace(".", words.decimal) + words.percent_sign;
}

function confidence(p) {
  if (p >= 0.97) return say("almost certain");
  if (p >= 0.85) return say("confident");
  if (p >= 0.65) return say("fairly sure");
  return p >= 0.45 ? say("leaning this way") : say("only a guess");
}

function opening(p) {
  if (p >= 0.85) return say("This is");
  return p >= 0.45 ? say("This looks like") : say("My best guess");
}

// Elements are made of text, never of HTML: names of files and classes are only names.
function make(tag, { on = {}, ...attributes } = {}, ...inside) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  for (const [event, action] of Object.entries(on)) node.addEventListener(event, action);
  node.append(...inside);
  return node;
}

let status = () => say("The model is loading …");

function tell(sentence, look = "") { // again in each language
  status = sentence;
  [$("#status").textContent, $("#status").className] = [sentence(), look];
}

async function speak(code, about) {
  const language = code in about.languages ? code : "en";
  const file = language === "en" ? {} : await (await fetch(`languages/${language}.json`)).json();
  words = { ...ENGLISH, ...file, ...about.languages[language] };
  document.documentElement.lang = language;
  document.title = $("h1").textContent = words.title;
  for (const node of document.querySelectorAll("[data-say]")) node.textContent = say(node.dataset.say);
  $("#language").setAttribute("aria-label", say("Language"));
  $("#language").value = language;
  $("#knows ul").replaceChildren(...about.classes.map((label) => make("li", {}, className(label))));
  for (const node of document.querySelectorAll("#examples button")) {
    node.setAttribute("aria-label", say("Example: {label}", { label: className(node.dataset.label) }));
  }
  const without = able ? say("After the first visit it also works without a network.") : "";
  $("#offline").textContent = without || say("To work without a network, this page needs an https address.");
  tell(status);
  show();
}

// --- images ---

let model, seen = [], chosen = 0, looked = false; // what was asked last: {name, file, url, found} or {name, damaged}

async function ask(files) {
  const asked = [], started = performance.now();
  tell(() => say("Looking at {n} pictures …", { n: files.length }));
  for (const file of files) {
    try {
      asked.push({ name: file.name, file, found: await model.classify(file), url: URL.createObjectURL(file) });
    } catch (error) {
      asked.push({ name: file.name, damaged: error.message === DAMAGED });
    }
  }
  for (const { url } of seen) if (url) URL.revokeObjectURL(url);
  [seen, chosen, looked] = [asked, 0, false];
  const n = Math.round((performance.now() - started) / files.length);
  tell(() => say("Answered on this device in {n} ms.", { n }));
  show();
  $("#result").focus(); // its label is what a screen reader says
  $("#result").scrollIntoView({ block: "nearest" });
}

const take = (files) => { if (model && files.length) ask([...files].slice(0, 100)); };

function sources() {
  const input = $("#files"), zone = $("#drop");
  input.addEventListener("change", () => { take(input.files); input.value = ""; });
  addEventListener("paste", (event) => take(event.clipboardData?.files ?? []));
  // Otherwise the browser would open the file.
  for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
  addEventListener("dragover", () => zone.classList.add("over"));
  for (const kind of ["dragleave", "drop"]) addEventListener(kind, () => zone.classList.remove("over"));
  addEventListener("drop", (event) => take(event.dataTransfer.files));
  input.disabled = false;
  camera();
}

function camera() {
  const open = $("#camera"), finder = $("#viewfinder"), video = $("video"), shoot = $("#shoot");
  open.hidden = !navigator.mediaDevices?.getUserMedia; // browsers give it to https and localhost alone
  const stop = () => {
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.srcObject = null;
    [open.hidden, finder.hidden, shoot.disabled] = [false, true, true];
    open.focus();
  };
  open.addEventListener("click", async () => {
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch {
      tell(() => say("The camera cannot be used: the browser or another program keeps it."), "error");
      return;
    }
    [open.hidden, finder.hidden] = [true, false];
  });
  video.addEventListener("loadeddata", () => { // before its first frame, the camera has no photo to give
    shoot.disabled = false;
    shoot.focus();
  });
  shoot.addEventListener("click", async () => {
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    canvas.getContext("2d").drawImage(video, 0, 0);
    const photo = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
    stop();
    take([new File([photo], "camera.jpg", { type: photo.type })]);
  });
  $("#close").addEventListener("click", stop);
}

function examples(about) {
  $("#examples").hidden = !about.examples.length;
  for (const { file, label } of about.examples) {
    const choose = async () => take([new File([await (await fetch(file)).blob()], file.split("/").pop())]);
    const image = make("img", { src: file, alt: "", loading: "lazy" });
    $("#examples .strip").append(make("button", { "data-label": label, on: { click: choose } }, image));
  }
}

// --- answers ---

function show() {
  const parts = seen.length > 1 ? [gallery()] : [];
  if (seen.length) parts.push(...large(seen[chosen]));
  $("#result").replaceChildren(...parts);
  $("#result").setAttribute("aria-label", seen.map((one) => summary(one).join(", ")).join("; "));
}

function summary({ found, damaged }) {
  if (!found) return [say("Not readable"), why(damaged)];
  const [{ label, probability }] = found.top;
  return found.known ? [className(label), percent(probability)] : [say("Unknown"), ""];
}

function why(damaged) {
  return damaged ? say("the model is damaged") : say("not an image, or a format that this browser cannot read");
}

function large({ name, damaged, url, found, file }) {
  if (!found) return [make("p", { class: "error" }, say("{name} cannot be used: {why}.", { name, why: why(damaged) }))];
  const canvas = looked && found.maps ? heat(file, found) : undefined;
  const image = canvas ?? make("img", { src: url, alt: say("The picture {name}", { name }) });
  const list = found.known ? say("The best guesses") : say("Of what I know, these come nearest:");
  const side = make("div", {}, sign(found), make("p", {}, list), bars(found));
  const box = make("div", { class: "image" }, image);
  if (found.maps) {
    const change = () => { looked = !looked; show(); $("#looked").focus(); };
    const tick = make("input", { type: "checkbox", id: "looked", on: { change } });
    tick.checked = looked;
    box.append(make("label", { class: "switch" }, tick, say("Show where it looked")));
    if (looked) box.append(make("p", { class: "small" }, mapText()));
  }
  return [make("div", { class: "answer" }, box, side)];
}

function sign({ known, top: [{ label, probability: p }] }) {
  const lines = known
    ? { head: [opening(p)], label: [className(label)], below: [make("b", {}, percent(p)), confidence(p)] }
    : { head: [say("Unknown")], label: [words.unknown], below: [reason()] };
  const inside = Object.entries(lines).map(([name, parts]) => make("div", { class: name }, ...parts));
  return make("div", { class: `sign ${known ? "known" : "unknown"}` }, ...inside);
}

function reason() {
  if (model.about.ood_score === "max_softmax") return say("No class is probable enough.");
  return say("It looks too little like the pictures that the network learned from.");
}

function bars({ known, top }) {
  const rows = top.slice(0, 5).filter(({ probability }, i) => !i || probability >= 0.001).map(({ label, probability: p }) => {
    const fill = make("i");
    fill.style.width = `${100 * p}%`;
    const name = make("span", { class: "name" }, className(label)), share = make("span", { class: "p" }, percent(p, 1));
    return make("li", {}, name, make("span", { class: "rail" }, fill), share);
  });
  return make("ol", { class: known ? "bars" : "bars unknown", "aria-label": say("Bar chart") }, ...rows);
}

function gallery() {
  const cards = seen.map(({ name, damaged, url, found }, i) => {
    const [label, share] = summary({ found, damaged });
    const choose = () => { chosen = i; show(); $(".gallery").children[i].focus(); };
    const image = url ? make("img", { src: url, alt: "" }) : make("span", { class: "nothing", "aria-hidden": "true" }, "✕");
    const look = { class: found?.known ? "card" : "card unknown", "aria-pressed": i === chosen, on: { click: choose } };
    return make("button", look, image, make("b", {}, label), make("span", {}, share), make("small", {}, name));
  });
  return make("div", { class: "gallery" }, ...cards);
}

// A class activation map is Grad-CAM's map, up to a factor, where a network ends in a mean over all places and a linear layer.
const mapText = () => say("Warm colours mark what counted in favour of the answer (Grad-CAM).");

// The image in grey with warm colours where the class activation map is high.
function heat(file, { maps, top, box: [left, top_, width, height], size }) {
  const [, , rows, columns] = maps.dims, from = top[0].index * rows * columns;
  const values = maps.data.subarray(from, from + rows * columns), most = Math.max(1e-6, ...values);
  const small = new OffscreenCanvas(columns, rows), pixels = new ImageData(columns, rows);
  values.forEach((v, i) => pixels.data.set([255, 150, 0, 220 * Math.max(0, v) / most], 4 * i));
  small.getContext("2d").putImageData(pixels, 0, 0);
  const canvas = make("canvas", { role: "img", "aria-label": mapText() });
  createImageBitmap(file).then((bitmap) => {
    const scale = Math.min(1, 800 / Math.max(bitmap.width, bitmap.height));
    [canvas.width, canvas.height] = [bitmap.width * scale, bitmap.height * scale];
    const context = canvas.getContext("2d");
    context.filter = "grayscale(1) brightness(0.75)";
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    context.filter = "none";
    bitmap.close();
    context.imageSmoothingQuality = "high";
    const [x, y] = [columns / size, rows / size]; // the map belongs to the square, the image is a part of it
    context.drawImage(small, left * x, top_ * y, width * x, height * y, 0, 0, canvas.width, canvas.height);
  });
  return canvas;
}

// --- start ---

async function main() {
  const about = await describe();
  $("#language").append(...Object.entries(about.languages).map(([code, { name }]) => make("option", { value: code }, name)));
  $("#language").addEventListener("change", (event) => speak(event.target.value, about));
  $("#files").disabled = true;
  examples(about);
  await speak(navigator.language.split("-")[0].toLowerCase(), about);
  $("#knows").hidden = false;
  try {
    model = await load(about);
  } catch ({ message: why }) {
    return tell(() => say("The model cannot be loaded ({why}). Reload the page, or try another browser.", { why }), "error");
  }
  tell(() => say("Ready."));
  sources();
  document.documentElement.dataset.ready = "yes";
  if (able) navigator.serviceWorker.register("sw.js");
}

main();
