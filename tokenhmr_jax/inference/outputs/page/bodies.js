// A person in 3D: mesh, skeleton or wireframe, posed by joint rotations.

import * as THREE from 'three';
import {content, isHere, unpack} from 'page/data.js';
import {Samples} from 'page/samples.js';

const {parents} = content.skeleton;
const GHOST = 0.18; // opacity of the mesh around a skeleton
const JOINT = 0.022, BONE = 0.014; // metres, radii
const ball = new THREE.SphereGeometry(JOINT, 12, 8);
const rod = new THREE.CylinderGeometry(BONE, BONE, 1, 8).translate(0, 0.5, 0);
const UP = new THREE.Vector3(0, 1, 0);

/** What the geometries of all persons share: faces, and the skin of moving ones. */
const shared = (() => {
  const {faces, influences, weights} = content.topology, found = {};
  if (faces) found.faces = new THREE.BufferAttribute(unpack(faces), 1);
  if (influences) {
    found.skinIndex = new THREE.BufferAttribute(unpack(influences), 4);
    found.skinWeight = new THREE.BufferAttribute(unpack(weights), 4, true);
  }
  return found;
})();

export class Body {
  constructor(person) {
    Object.assign(this, person);
    this.visible = true;
    this.rest = unpack(person.rest);
    this.rotations = unpack(person.rotations);
    this.root = unpack(person.root);
    this.vertices = unpack(person.vertices);
    this.height = extent(this.vertices, 1);
    this.tint = new THREE.Color().setRGB(...person.color, THREE.SRGBColorSpace);
    this.bones = this.makeBones();
    this.joints = parents.map(() => new THREE.Vector3());
    this.material = new THREE.MeshStandardMaterial({color: this.tint, roughness: 0.75});
    this.mesh = this.makeMesh();
    const dark = this.tint.clone().multiplyScalar(0.6);
    const solid = new THREE.MeshStandardMaterial({color: dark, roughness: 0.6});
    this.sampled = person.samples && new Samples(person, dark);
    this.balls = new THREE.InstancedMesh(ball, solid, parents.length);
    this.rods = new THREE.InstancedMesh(rod, solid, parents.length - 1);
    this.bonesShape = new THREE.Group().add(this.balls, this.rods);
    for (const part of [this.mesh, this.balls, this.rods]) {
      part.frustumCulled = false;
      part.castShadow = true;
    }
  }

  /** A joint's rotation in a row, as a quaternion (x, y, z, w) of length one. */
  rotation(row, joint) {
    const start = 4 * (parents.length * row + joint), turn = this.rotations.subarray(start, start + 4);
    const length = Math.hypot(...turn);
    return turn.map(x => x / length);
  }

  makeBones() {
    const at = joint => new THREE.Vector3().fromArray(this.rest, 3 * joint);
    const bones = parents.map(() => new THREE.Bone());
    bones.forEach((bone, joint) => {
      const parent = bones[parents[joint]];
      bone.position.copy(at(joint));
      if (!parent) return;
      bone.position.sub(at(parents[joint]));
      parent.add(bone);
    });
    return bones;
  }

  makeMesh() {
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute('position', new THREE.BufferAttribute(this.vertices, 3));
    geometry.setIndex(shared.faces);
    geometry.computeVertexNormals();
    const mesh = new (shared.skinIndex ? THREE.SkinnedMesh : THREE.Mesh)(geometry, this.material);
    mesh.add(this.bones[0]);
    if (!shared.skinIndex) return mesh;
    geometry.setAttribute('skinIndex', shared.skinIndex);
    geometry.setAttribute('skinWeight', shared.skinWeight);
    const inverses = parents.map((_, j) => new THREE.Matrix4().makeTranslation(
      -this.rest[3 * j], -this.rest[3 * j + 1], -this.rest[3 * j + 2]));
    mesh.bind(new THREE.Skeleton(this.bones, inverses), new THREE.Matrix4());
    return mesh;
  }

  /** Poses the body as in a frame of the whole; hides it where it is not there. `sampled`: with its samples. */
  show(frame, mode, sampled) {
    const seen = this.visible && isHere(this, frame), bones = mode === 'skeleton';
    this.mesh.visible = seen;
    this.bonesShape.visible = seen && bones;
    if (this.sampled) this.sampled.lines.visible = seen && sampled;
    if (!isHere(this, frame)) return;
    this.pose(frame - this.first);
    this.sampled?.pose(frame - this.first);
    if (bones) this.drawBones();
    if (mode !== this.mode) this.dress(mode);
  }

  dress(mode) {
    const bones = mode === 'skeleton';
    this.mode = mode;
    Object.assign(this.material, {
      wireframe: mode === 'wireframe', transparent: bones, opacity: bones ? GHOST : 1, depthWrite: !bones});
    this.material.needsUpdate = true;
  }

  pose(row) {
    this.bones[0].position.fromArray(this.root, 3 * row);
    this.bones.forEach((bone, joint) => {
      bone.quaternion.fromArray(this.rotation(row, joint));
    });
    this.mesh.updateWorldMatrix(true, true);
    this.bones.forEach((bone, joint) => this.joints[joint].setFromMatrixPosition(bone.matrixWorld));
  }

  drawBones() {
    const matrix = new THREE.Matrix4(), turn = new THREE.Quaternion(), along = new THREE.Vector3();
    this.joints.forEach((joint, i) => {
      this.balls.setMatrixAt(i, matrix.makeTranslation(joint));
      if (i === 0) return;
      const start = this.joints[parents[i]], length = along.subVectors(joint, start).length();
      turn.setFromUnitVectors(UP, along.normalize());
      this.rods.setMatrixAt(i - 1, matrix.compose(start, turn, new THREE.Vector3(1, length, 1)));
    });
    this.balls.instanceMatrix.needsUpdate = this.rods.instanceMatrix.needsUpdate = true;
  }

  /** The box around the joints, as they were posed last. */
  box() {
    return new THREE.Box3().setFromPoints(this.joints).expandByScalar(0.12);
  }
}

function extent(vertices, axis) {
  let low = Infinity, high = -Infinity;
  for (let i = axis; i < vertices.length; i += 3) {
    low = Math.min(low, vertices[i]);
    high = Math.max(high, vertices[i]);
  }
  return high - low;
}
