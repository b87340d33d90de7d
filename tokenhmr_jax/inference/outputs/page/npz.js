// NumPy's .npz of a body: SMPL parameters, by the names and in the axes of predict's files.

import {Matrix4, Quaternion} from 'three';
import {cameraOf, content, isVideo, placeOf} from 'page/data.js';

const CRC = Uint32Array.from({length: 256}, (_, n) => {
  for (let i = 0; i < 8; i++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

/** A file of a body's T frames. */
export function npzOf(body) {
  const {count, first} = body, {origin} = placeOf(first), joints = content.skeleton.parents.length;
  const pose = new Float32Array(9 * (joints - 1) * count), orient = new Float32Array(9 * count);
  const place = new Float32Array(3 * count), index = new Int32Array(count), time = new Float32Array(count);
  for (let row = 0; row < count; row++) {
    for (let joint = 1; joint < joints; joint++) {
      pose.set(matrixOf(body.rotation(row, joint)), 9 * ((joints - 1) * row + joint - 1));
    }
    // From glTF's axes to the camera's: y and z change their signs.
    orient.set(matrixOf(body.rotation(row, 0)).map((x, i) => (i < 3 ? x : -x)), 9 * row);
    const root = [0, 1, 2].map(i => (body.root[3 * row + i] + origin[i]) * (i ? -1 : 1));
    place.set(root.map((x, i) => x - body.rest[i]), 3 * row);
    index[row] = first + row;
    time[row] = isVideo ? content.frames[first + row].time : NaN;
  }
  const betas = Float32Array.from({length: 10 * count}, (_, i) => body.betas[i % 10] ?? 0);
  const {focal, middle} = cameraOf(first), whole = values => new Float32Array(values);
  return zip({
    global_orient: [orient, [count, 3, 3]], body_pose: [pose, [count, joints - 1, 3, 3]], betas: [betas, [count, 10]],
    translation: [place, [count, 3]], index: [index, [count]], time: [time, [count]],
    focal_length: [whole([focal]), []], principal_point: [whole(middle), [2]],
  });
}

function matrixOf(quaternion) {
  const {elements: m} = new Matrix4().makeRotationFromQuaternion(new Quaternion().fromArray(quaternion));
  return [m[0], m[4], m[8], m[1], m[5], m[9], m[2], m[6], m[10]];
}

function npy(array, shape) {
  const kind = array instanceof Int32Array ? '<i4' : '<f4', sizes = shape.map(size => `${size},`).join(' ');
  let text = `{'descr': '${kind}', 'fortran_order': False, 'shape': (${sizes}), }`;
  text += `${' '.repeat(63 - (10 + text.length) % 64)}\n`;
  const head = [0x93, ...bytes('NUMPY'), 1, 0, text.length & 255, text.length >> 8];
  return Uint8Array.from([...head, ...bytes(text), ...new Uint8Array(array.buffer)]);
}

function bytes(text) {
  return new TextEncoder().encode(text);
}

/** A ZIP file of arrays, uncompressed. */
function zip(arrays) {
  const parts = [], entries = [];
  let size = 0;
  for (const [name, [array, shape]] of Object.entries(arrays)) {
    const file = bytes(`${name}.npy`), data = npy(array, shape), fields = fieldsOf(file, data);
    entries.push([[0x504b0102, 'magic'], [20, 2], ...fields, [0, 2], [0, 2], [0, 2], [0, 4], [size, 4]], file);
    const local = pack([[0x504b0304, 'magic'], ...fields]);
    parts.push(local, file, data);
    size += local.length + file.length + data.length;
  }
  const central = entries.map(entry => (entry instanceof Uint8Array ? entry : pack(entry)));
  const length = central.reduce((sum, part) => sum + part.length, 0), count = Object.keys(arrays).length;
  const end = pack([[0x504b0506, 'magic'], [0, 2], [0, 2], [count, 2], [count, 2], [length, 4], [size, 4], [0, 2]]);
  return new Blob([...parts, ...central, end]);
}

/** The fields that both headers of a file have: version to length of the extra field. */
function fieldsOf(file, data) {
  const FIRST_DAY = 0x21; // 1980, when ZIP's days begin
  return [
    [20, 2], [0, 2], [0, 2], [0, 2], [FIRST_DAY, 2], [checksum(data), 4], [data.length, 4], [data.length, 4],
    [file.length, 2], [0, 2]];
}

function pack(fields) {
  return Uint8Array.from(fields.flatMap(([value, width]) => (width === 'magic'
    ? [24, 16, 8, 0].map(shift => value >> shift & 255)
    : Array.from({length: width}, (_, i) => Math.floor(value / 256 ** i) & 255))));
}

function checksum(data) {
  let crc = 0xffffffff;
  for (const byte of data) crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
