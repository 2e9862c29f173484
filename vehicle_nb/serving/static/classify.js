// A file becomes an answer. No document is needed here: tests and your own pages may use this module alone.
import * as ort from "./runtime/ort.wasm.min.mjs";
import { letterbox, reduce, resize } from "./resize.js";

export const DAMAGED = "the outputs are NaN or infinite";
const MAX_PIXELS = 16e6; // phones refuse a larger canvas

const here = (path) => new URL(path, import.meta.url).href;

async function get(path) {
  const answer = await fetch(here(path));
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer;
}

// What `vehicle_export` says about the model.
export const describe = async () => (await get("model.json")).json();

// The model, ready to answer.
export async function load(about) {
  ort.env.wasm.numThreads = 1; // more need headers that a static host cannot send
  ort.env.wasm.wasmPaths = here("runtime/");
  const bytes = await (await get("model.onnx")).arrayBuffer();
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  await run(session, about, new Uint8Array(about.input_size ** 2 * 3)); // the first pass is slow: better now than later
  return { about, classify: (file) => classify(session, about, file) };
}

function run(session, { input_size: side }, pixels) {
  return session.run({ images: new ort.Tensor("uint8", pixels, [1, side, side, 3]) });
}

async function classify(session, about, file) {
  const square = await prepare(file, about.image_size);
  const input = resize(square, about.input_size, about.input_size, "bilinear");
  const out = await run(session, about, new Uint8Array(input.data.buffer));
  return { ...answer(out.logits.data, out.knn_score?.data[0], about), maps: out.maps, box: square.box, size: square.width };
}

// Upright, on a grey square of the size that the network was trained on.
export async function prepare(file, size) {
  const start = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  // Python does not convert colours to the screen's either.
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  const scale = Math.max(1, Math.ceil(Math.sqrt((bitmap.width * bitmap.height) / MAX_PIXELS)));
  const width = Math.ceil(bitmap.width / scale), height = Math.ceil(bitmap.height / scale);
  const canvas = new OffscreenCanvas(width, height), context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white"; // below what is transparent
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  const pixels = context.getImageData(0, 0, width, height).data;
  // Pillow decodes a large JPEG at 1/2, 1/4 or 1/8 of its size, and takes the means of blocks for the rest.
  const longest = Math.max(width, height), jpeg = start[0] === 0xff && start[1] === 0xd8;
  const draft = jpeg ? [8, 4, 2].find((part) => longest / (2 * size) >= part) ?? 1 : 1;
  const factor = draft * Math.max(1, Math.floor(Math.ceil(longest / draft) / (2 * size)));
  return letterbox(reduce(pixels, width, height, factor), size);
}

function logSumExp(values) {
  const most = Math.max(...values);
  return most + Math.log(values.reduce((sum, v) => sum + Math.exp(v - most), 0));
}

// Logits and the score of likeness become calibrated probabilities, and a decision: `Predictor` in Python does the same.
export function answer(logits, knn, about) {
  const values = Array.from(logits, (v) => v / about.temperature), sum = logSumExp(values);
  const shares = values.map((v) => Math.exp(v - sum)), logP = Math.max(...values) - sum;
  const [wKnn, wLogP, bias] = about.known_weights ?? [];
  const scores = {
    knn,
    energy: logSumExp(Array.from(logits)),
    max_softmax: Math.exp(logP),
    p_known: 1 / (1 + Math.exp(-(wKnn * knn + wLogP * logP + bias))), // that the image shows one of the classes at all
  };
  const score = scores[about.ood_score];
  const probs = about.ood_score === "p_known" ? shares.map((p) => p * score) : shares;
  if (!Number.isFinite(sum)) throw new Error(DAMAGED);
  const top = about.classes.map((label, index) => ({ label, index, probability: probs[index] }));
  top.sort((a, b) => b.probability - a.probability);
  return { known: score >= about.ood_threshold, score, probs, top };
}
