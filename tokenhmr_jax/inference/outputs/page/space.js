// The 3D view: renderer, camera, and the ways to look.

import * as THREE from 'three';
import {OrbitControls} from 'three/OrbitControls';
import {cameraOf, content, isHere, isVideo, placeOf} from 'page/data.js';
import {Stage} from 'page/stage.js';

const FIELD = 40; // degrees, vertical
const DIRECTIONS = {all: [0.45, 0.28, 1], front: [0, 0.08, 1], top: [0, 1, 0.001]};
const MARGIN = 1.06, UNDER_BUTTONS = 0.12;
const NEAR_POINTER = 0.16; // metres around bones, to be pointed at

export class Space {
  /** Raises an error where the browser has no WebGL. `shown`: the picture's element. */
  constructor(canvas, bodies, shown) {
    this.renderer = new THREE.WebGLRenderer({canvas, antialias: true});
    this.renderer.shadowMap.enabled = true;
    this.canvas = canvas;
    this.shown = shown;
    this.scene = new THREE.Scene();
    this.world = new THREE.Group();
    this.scene.add(this.world);
    this.stage = new Stage(this.scene, this.world);
    this.bodies = bodies;
    for (const body of bodies) {
      this.world.add(body.mesh, ...(body.sampled ? [body.sampled.lines] : []));
      this.scene.add(body.bonesShape);
    }
    this.camera = new THREE.PerspectiveCamera(FIELD, 1, 0.01, 1000);
    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.addEventListener('change', () => this.draw());
    this.controls.addEventListener('start', () => this.leaveCamera());
    this.mode = 'mesh';
    this.sampled = true;
    this.view = 'all';
    this.frame = 0;
    this.theme = 'light';
    this.followed = null;
    this.onview = () => {};
    if (isVideo) this.stage.setTexture(new THREE.VideoTexture(shown), content.video.share);
    else shown.addEventListener('load', () => this.showImage());
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement);
  }

  showImage() {
    this.stage.setTexture(new THREE.Texture(this.shown), 1);
    this.stage.screen.material.map.needsUpdate = true;
    this.draw();
  }

  resize() {
    const {clientWidth: width, clientHeight: height} = this.canvas.parentElement;
    if (!width || !height) return;
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    if (!this.touched) this.look(this.view);
    this.draw();
  }

  /** Shows a frame; another picture is another place, framed anew. */
  show(frame) {
    const moved = placeOf(frame) !== placeOf(this.frame);
    this.frame = frame;
    if (moved) this.stage.set(frame, this.theme);
    for (const body of this.bodies) body.show(frame, this.mode, this.sampled);
    if (moved) {
      this.follow(null);
      this.look(this.view);
    }
    this.keepUp();
    this.draw();
  }

  setTheme(theme) {
    this.theme = theme;
    this.stage.set(this.frame, theme);
    this.draw();
  }

  setMode(mode) {
    this.mode = mode;
    this.show(this.frame);
  }

  showSamples(sampled) {
    this.sampled = sampled;
    this.show(this.frame);
  }

  /** Looks from a direction at all people of all frames, or with the picture's own camera. */
  look(view) {
    if (view === 'camera' && !cameraOf(this.frame).focal) view = 'all';
    this.view = view;
    this.touched = false;
    this.stage.screen.visible = view === 'camera';
    this.stage.frustum.visible = view !== 'camera' && Boolean(cameraOf(this.frame).focal);
    this.camera.clearViewOffset();
    this.camera.fov = FIELD;
    if (view === 'camera') {
      this.lookAsPicture();
    } else {
      const place = placeOf(this.frame);
      const box = new THREE.Box3(new THREE.Vector3(...place.low), new THREE.Vector3(...place.high));
      box.max.y += UNDER_BUTTONS * (box.max.y - box.min.y);
      this.lookAt(box, new THREE.Vector3(...DIRECTIONS[view]).normalize());
    }
    this.onview(view);
    this.draw();
  }

  /** Moves back along a direction until all corners of a box are seen. */
  lookAt(box, direction) {
    const centre = box.getCenter(new THREE.Vector3());
    this.camera.position.copy(centre).add(direction);
    this.camera.lookAt(centre);
    this.camera.updateMatrixWorld();
    const up = Math.tan(THREE.MathUtils.degToRad(FIELD) / 2) / MARGIN, across = up * this.camera.aspect;
    let distance = 0.5;
    for (let i = 0; i < 8; i++) {
      const corner = new THREE.Vector3(...['x', 'y', 'z'].map((axis, k) => (i >> k & 1 ? box.max : box.min)[axis]));
      const {x, y, z} = corner.sub(centre).applyQuaternion(this.camera.quaternion.clone().invert());
      distance = Math.max(distance, Math.abs(x) / across + z, Math.abs(y) / up + z);
    }
    this.camera.position.copy(centre).addScaledVector(direction, distance);
    this.controls.target.copy(centre);
    this.setRange(distance);
    this.controls.update();
  }

  lookAsPicture() {
    const {focal, middle, size} = cameraOf(this.frame), {eye} = this.stage;
    const {clientWidth: width, clientHeight: height} = this.canvas.parentElement;
    const scale = Math.min(width / size[0], height / size[1]);
    this.camera.fov = THREE.MathUtils.radToDeg(2 * Math.atan(height / 2 / (scale * focal)));
    const shift = middle.map((m, i) => -scale * (m - size[i] / 2));
    this.camera.setViewOffset(width, height, ...shift, width, height);
    const depth = Math.max(eye.z, 1);
    this.camera.position.copy(this.stage.seen());
    this.controls.target.copy(this.stage.seen(depth));
    this.setRange(depth);
    this.controls.update();
  }

  /** What the user turns is no longer the picture's camera, and is kept when the page is resized. */
  leaveCamera() {
    this.touched = true;
    if (this.view === 'camera') {
      this.stage.screen.visible = false;
      this.stage.frustum.visible = true;
    }
    this.view = 'all';
    this.onview('');
  }

  setRange(distance) {
    this.camera.near = distance / 200;
    this.camera.far = 20 * distance + 100;
    this.camera.updateProjectionMatrix();
  }

  /** Keeps a person in the middle; null for nobody. */
  follow(body) {
    this.followed = body;
    if (!body || !isHere(body, this.frame)) return;
    this.leaveCamera();
    const direction = this.camera.position.clone().sub(this.controls.target).normalize();
    this.camera.clearViewOffset();
    this.camera.fov = FIELD;
    this.lookAt(body.box(), direction);
    this.draw();
  }

  keepUp() {
    const body = this.followed;
    if (!body || !isHere(body, this.frame)) return;
    const step = body.box().getCenter(new THREE.Vector3()).sub(this.controls.target);
    this.controls.target.add(step);
    this.camera.position.add(step);
    this.controls.update();
  }

  /** The body at a point of the canvas, or 'camera', or null. */
  pick(x, y) {
    const {clientWidth: width, clientHeight: height} = this.canvas;
    const point = new THREE.Vector2(x, y), focus = height / 2 / Math.tan(THREE.MathUtils.degToRad(this.camera.fov) / 2);
    const onScreen = position => {
      const {x: right, y: up} = position.clone().project(this.camera);
      return new THREE.Vector2((right + 1) / 2 * width, (1 - up) / 2 * height);
    };
    let best = null, nearest = Infinity;
    for (const body of this.bodies) {
      if (!body.mesh.visible) continue;
      body.joints.forEach((joint, i) => {
        const parent = body.joints[content.skeleton.parents[i]] || joint;
        const depth = joint.distanceTo(this.camera.position);
        const apart = distanceTo(point, onScreen(joint), onScreen(parent));
        if (apart < NEAR_POINTER * focus / depth && depth < nearest) [best, nearest] = [body, depth];
      });
    }
    const {frustum} = this.stage;
    if (!best && frustum.visible && onScreen(this.stage.seen()).distanceTo(point) < 24) return 'camera';
    return best;
  }

  draw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = null;
      this.renderer.render(this.scene, this.camera);
      document.documentElement.dataset.ready ||= Math.round(performance.now());
    });
  }
}

/** Distance of a point from the segment between two others. */
function distanceTo(point, a, b) {
  const along = b.clone().sub(a), length = along.lengthSq() || 1;
  const share = Math.max(0, Math.min(1, point.clone().sub(a).dot(along) / length));
  return point.distanceTo(a.clone().addScaledVector(along, share));
}
