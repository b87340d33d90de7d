// Binary glTF 2.0 of bodies: skinned and animated ones of a video, meshes of a picture.

import {content, isVideo, unpack} from 'page/data.js';

const {names, parents} = content.skeleton;
const CODES = {Float32Array: 5126, Uint32Array: 5125, Uint16Array: 5123, Uint8Array: 5121};
const SHAPES = {1: 'SCALAR', 3: 'VEC3', 4: 'VEC4', 16: 'MAT4'};

class File {
  constructor() {
    this.chunks = [];
    this.size = 0;
    this.document = {
      asset: {version: '2.0', generator: 'tokenhmr_jax'}, scene: 0, scenes: [{nodes: []}], nodes: [], meshes: [],
      materials: [], accessors: [], bufferViews: [], buffers: [],
    };
  }

  /** Adds an array of `width` numbers each; returns its accessor. */
  add(array, width, more = {}) {
    const {accessors, bufferViews} = this.document;
    bufferViews.push({buffer: 0, byteOffset: this.size, byteLength: array.byteLength});
    const {normalized, bounds} = more, componentType = CODES[array.constructor.name];
    accessors.push({
      bufferView: bufferViews.length - 1, componentType, count: array.length / width, type: SHAPES[width],
      ...(normalized && {normalized}), ...(bounds && boundsOf(array, width)),
    });
    const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    this.chunks.push(bytes, new Uint8Array(-array.byteLength & 3));
    this.size += array.byteLength + (-array.byteLength & 3);
    return accessors.length - 1;
  }

  node(node) {
    return this.document.nodes.push(node) - 1;
  }

  blob() {
    this.document.buffers.push({byteLength: this.size});
    const text = new TextEncoder().encode(JSON.stringify(this.document)), gap = -text.length & 3;
    const head = new Uint32Array([0x46546c67, 2, 28 + text.length + gap + this.size, text.length + gap, 0x4e4f534a]);
    return new Blob([head, text, ' '.repeat(gap), new Uint32Array([this.size, 0x004e4942]), ...this.chunks]);
  }
}

/** A file of bodies on one clock. */
export function glbOf(bodies) {
  const file = new File(), {faces, influences, weights} = content.topology;
  const parts = {indices: file.add(unpack(faces), 1)};
  if (isVideo) {
    parts.skin = {
      JOINTS_0: file.add(unpack(influences), 4), WEIGHTS_0: file.add(unpack(weights), 4, {normalized: true})};
    Object.assign(file.document, {skins: [], animations: [{name: 'motion', channels: [], samplers: []}]});
  }
  for (const body of bodies) addBody(file, body, parts);
  return file.blob();
}

function addBody(file, body, {indices, skin}) {
  const {document} = file, normals = body.mesh.geometry.attributes.normal.array;
  const attributes = {
    POSITION: file.add(body.vertices, 3, {bounds: true}), NORMAL: file.add(normals, 3), ...skin};
  document.materials.push({pbrMetallicRoughness: {
    baseColorFactor: [...body.color, 1], metallicFactor: 0, roughnessFactor: 0.7}});
  const material = document.materials.length - 1;
  document.meshes.push({name: body.name, primitives: [{attributes, indices, material}]});
  const node = {name: body.name, mesh: document.meshes.length - 1};
  if (skin) node.skin = addSkeleton(file, body);
  document.scenes[0].nodes.push(file.node(node));
}

function addSkeleton(file, body) {
  const {document} = file, first = document.nodes.length, at = joint => [...body.rest.slice(3 * joint, 3 * joint + 3)];
  parents.forEach((parent, joint) => {
    const children = parents.flatMap((p, j) => (p === joint ? [first + j] : []));
    const translation = joint ? at(joint).map((x, i) => x - at(parent)[i]) : at(0);
    file.node({name: names[joint], translation, ...(children.length && {children})});
  });
  const binds = new Float32Array(parents.flatMap((_, joint) => [
    1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, ...at(joint).map(x => -x), 1]));
  const joints = parents.map((_, joint) => first + joint);
  document.skins.push({joints, skeleton: first, inverseBindMatrices: file.add(binds, 16)});
  document.scenes[0].nodes.push(first);
  animate(file, body, first);
  return document.skins.length - 1;
}

function animate(file, body, first) {
  const [{channels, samplers}] = file.document.animations, count = parents.length;
  const start = body.first, frames = content.frames.slice(start, start + body.count);
  const clock = file.add(Float32Array.from(frames, frame => frame.time), 1, {bounds: true});
  const add = (node, path, output) => {
    samplers.push({input: clock, output, interpolation: 'LINEAR'});
    channels.push({sampler: samplers.length - 1, target: {node, path}});
  };
  add(first, 'translation', file.add(body.root, 3));
  for (let joint = 0; joint < count; joint++) {
    const turns = new Float32Array(4 * body.count);
    for (let row = 0; row < body.count; row++) turns.set(body.rotation(row, joint), 4 * row);
    add(first + joint, 'rotation', file.add(turns, 4));
  }
}

function boundsOf(array, width) {
  const min = Array(width).fill(Infinity), max = Array(width).fill(-Infinity);
  array.forEach((x, i) => {
    min[i % width] = Math.min(min[i % width], x);
    max[i % width] = Math.max(max[i % width], x);
  });
  return {min, max};
}
