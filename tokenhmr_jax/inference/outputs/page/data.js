// The content of the page, and arrays of it.

const KINDS = {u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, f4: Float32Array};

export const content = JSON.parse(document.getElementById('data').textContent);
export const isVideo = Boolean(content.fps);

/** The bytes of base64 text. */
export function bytesOf(text) {
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** The numbers of a packed array; quantised ones as Float32Array. */
export function unpack(packed) {
  const numbers = new KINDS[packed.dtype](bytesOf(packed.data).buffer);
  if (packed.step === undefined) return numbers;
  return Float32Array.from(numbers, number => packed.low + packed.step * number);
}

/** The place of a frame: one of all frames in a video, one for each picture. */
export function placeOf(frame) {
  return content.places[Math.min(frame, content.places.length - 1)];
}

/** The camera of a frame: size, focal, middle in pixels, and its source. */
export function cameraOf(frame) {
  return content.camera || content.frames[frame];
}

/** Whether a person is there in a frame. */
export function isHere(person, frame) {
  return frame >= person.first && frame < person.first + person.count;
}

/** Seconds as minutes and seconds. */
export function clock(seconds) {
  const tenths = Math.round(10 * seconds);
  return `${Math.floor(tenths / 600)}:${(tenths % 600 / 10).toFixed(1).padStart(4, '0')}`;
}

export function css([r, g, b]) {
  return `rgb(${[r, g, b].map(x => Math.round(255 * x))})`;
}

/** A new element with properties and children. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}
