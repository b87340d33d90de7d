// Skeletons of a person's samples, as thin lines in the person's colour.

import * as THREE from 'three';
import {content, unpack} from 'page/data.js';

const {parents} = content.skeleton;
const OPACITY = 0.45;

export const hasSamples = content.people.some(person => person.samples);

export class Samples {
  constructor({samples}, color) {
    const [rows, count] = samples.shape;
    this.joints = unpack(samples);
    this.places = new THREE.BufferAttribute(new Float32Array(this.joints.length / rows), 3);
    const geometry = new THREE.BufferGeometry().setAttribute('position', this.places).setIndex(ends(count));
    const look = {color, transparent: true, opacity: OPACITY, depthWrite: false};
    this.lines = new THREE.LineSegments(geometry, new THREE.LineBasicMaterial(look));
    this.lines.frustumCulled = false;
  }

  /** Places the skeletons as in a row of the person's frames. */
  pose(row) {
    const {array} = this.places;
    array.set(this.joints.subarray(array.length * row, array.length * (row + 1)));
    this.places.needsUpdate = true;
  }
}

/** Of each skeleton's bones, the numbers of both joints. */
function ends(count) {
  const bones = parents.flatMap((parent, joint) => parent < 0 ? [] : [parent, joint]);
  return Array.from({length: count}, (_, i) => bones.map(joint => parents.length * i + joint)).flat();
}
