// What Python does to an image before the network sees it, pixel for pixel: Pillow's `reduce` and `resize`, our `letterbox`.
// An image is {data, width, height}; data is a Uint8ClampedArray of width × height × 3.

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
const FILTERS = { // how far each reaches, and its weight at a distance
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  bicubic: [2, (x) => ((x = Math.abs(x)) < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0)],
  lanczos: [3, (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0)],
};
const BITS = 22; // Pillow computes with whole numbers: weights in units of 2^-22

// For each new pixel along one side: the first old pixel that counts, and the weights of this and the next ones.
function weights(before, after, [reach, filter]) {
  const scale = before / after, wide = Math.max(1, scale), support = reach * wide;
  return Array.from({ length: after }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5)), last = Math.min(before, Math.trunc(centre + support + 0.5));
    const values = Array.from({ length: last - first }, (_, k) => filter((first + k - centre + 0.5) / wide));
    const sum = values.reduce((a, b) => a + b, 0);
    const whole = (v) => Math.sign(v) * Math.floor(Math.abs((v / sum) * 2 ** BITS) + 0.5);
    return { first, each: Int32Array.from(values, whole) };
  });
}

// One pass of `resize`: along `count` lines that start `next` numbers apart, where neighbours are `step` numbers apart.
function pass(from, to, table, count, next, step, nextTo, stepTo) {
  for (let line = 0; line < count; line++) {
    for (let i = 0; i < table.length; i++) {
      const { first, each } = table[i];
      for (let c = 0; c < 3; c++) {
        let sum = 2 ** (BITS - 1), at = line * next + first * step + c;
        for (let k = 0; k < each.length; k++, at += step) sum += from[at] * each[k];
        to[line * nextTo + i * stepTo + c] = sum >> BITS; // a clamped array: no number below 0 or above 255
      }
    }
  }
  return to;
}

export function resize({ data, width, height }, newWidth, newHeight, filter) {
  if (newWidth !== width) {
    const table = weights(width, newWidth, FILTERS[filter]);
    data = pass(data, new Uint8ClampedArray(newWidth * height * 3), table, height, width * 3, 3, newWidth * 3, 3);
  }
  if (newHeight !== height) {
    const table = weights(height, newHeight, FILTERS[filter]);
    data = pass(data, new Uint8ClampedArray(newWidth * newHeight * 3), table, newWidth, 3, newWidth * 3, 3, newWidth * 3);
  }
  return { data, width: newWidth, height: newHeight };
}

// Means of blocks of factor × factor pixels; a canvas gives four numbers a pixel. At the edges blocks are smaller.
export function reduce(rgba, width, height, factor) {
  const newWidth = Math.ceil(width / factor), newHeight = Math.ceil(height / factor);
  const data = new Uint8ClampedArray(newWidth * newHeight * 3);
  for (let y = 0, to = 0; y < newHeight; y++) {
    const bottom = Math.min(height, (y + 1) * factor);
    for (let x = 0; x < newWidth; x++, to += 3) {
      const right = Math.min(width, (x + 1) * factor);
      let r = 0, g = 0, b = 0;
      for (let row = y * factor; row < bottom; row++) {
        for (let at = (row * width + x * factor) * 4, end = (row * width + right) * 4; at < end; at += 4) {
          r += rgba[at]; g += rgba[at + 1]; b += rgba[at + 2];
        }
      }
      const n = (bottom - y * factor) * (right - x * factor), part = Math.floor(2 ** 24 / n); // Pillow divides by multiplying
      [r, g, b].forEach((sum, c) => { data[to + c] = Math.floor(((sum + (n >> 1)) * part) / 2 ** 24); });
    }
  }
  return { data, width: newWidth, height: newHeight };
}

const round = (x) => (x % 1 === 0.5 ? 2 * Math.round(x / 2) : Math.round(x)); // halves go to the even number, as in Python

// The whole image, centred on a grey square; also where in the square it lies: [left, top, width, height].
export function letterbox(image, size) {
  const scale = size / Math.max(image.width, image.height);
  const [width, height] = [image.width, image.height].map((side) => Math.max(1, round(side * scale)));
  const small = resize(image, width, height, scale < 1 ? "lanczos" : "bicubic");
  const data = new Uint8ClampedArray(size * size * 3).fill(128);
  const left = (size - width) >> 1, top = (size - height) >> 1;
  for (let y = 0; y < height; y++) {
    data.set(small.data.subarray(y * width * 3, (y + 1) * width * 3), ((top + y) * size + left) * 3);
  }
  return { data, width: size, height: size, box: [left, top, width, height] };
}
