// BVH, the text format of a skeleton and its motion: y up, centimetres, degrees, as predict writes it.

import {Euler, MathUtils, Quaternion} from 'three';
import {content} from 'page/data.js';

const {names, parents} = content.skeleton;
const TIP = [0, 0.05, 0]; // metres, the end of a last bone

/** The text of a body's file. */
export function bvhOf(body) {
  const order = [], lines = ['HIERARCHY', ...jointLines(body, 0, 0, order)];
  lines.push('MOTION', `Frames: ${body.count}`, `Frame Time: ${(1 / (content.fps || 1)).toFixed(8)}`);
  for (let row = 0; row < body.count; row++) lines.push(rowLine(body, row, order));
  return `${lines.join('\n')}\n`;
}

function jointLines(body, joint, depth, order) {
  order.push(joint);
  const indent = '\t'.repeat(depth), at = i => [...body.rest.slice(3 * i, 3 * i + 3)];
  const place = joint ? at(joint).map((x, i) => x - at(parents[joint])[i]) : [0, 0, 0];
  const rotation = 'Zrotation Xrotation Yrotation';
  const channels = joint ? `3 ${rotation}` : `6 Xposition Yposition Zposition ${rotation}`;
  const children = parents.flatMap((parent, i) => (parent === joint ? [i] : []));
  return [
    `${indent}${joint ? 'JOINT' : 'ROOT'} ${names[joint]}`, `${indent}{`, `${indent}\t${offset(place)}`,
    `${indent}\tCHANNELS ${channels}`,
    ...children.flatMap(child => jointLines(body, child, depth + 1, order)),
    ...(children.length ? [] : [`${indent}\tEnd Site`, `${indent}\t{`, `${indent}\t\t${offset(TIP)}`, `${indent}\t}`]),
    `${indent}}`];
}

function offset(place) {
  return `OFFSET ${place.map(x => (100 * x).toFixed(5)).join(' ')}`;
}

function rowLine(body, row, order) {
  const euler = new Euler(), turn = new Quaternion();
  const angles = order.flatMap(joint => {
    euler.setFromQuaternion(turn.fromArray(body.rotation(row, joint)), 'ZXY');
    return [euler.z, euler.x, euler.y].map(MathUtils.radToDeg);
  });
  const place = [...body.root.slice(3 * row, 3 * row + 3)].map(x => 100 * x);
  return [...place, ...angles].map(x => x.toFixed(5)).join(' ');
}
