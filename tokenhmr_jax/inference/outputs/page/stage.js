// Lights, the ground, and the picture's camera as it stands among the bodies.

import * as THREE from 'three';
import {cameraOf, placeOf} from 'page/data.js';

const THEMES = {
  light: {space: '#f7f8fa', lines: '#c3cad4', camera: '#5c6675', shadow: 0.22},
  dark: {space: '#191d23', lines: '#3c4552', camera: '#98a2b1', shadow: 0.45},
};
const MOST_LINES = 40;

export class Stage {
  /** `world`: what has the axes of the picture's camera; the scene's axes are the ground's. */
  constructor(scene, world) {
    this.scene = scene;
    this.world = world;
    this.sun = new THREE.DirectionalLight('#fff', 2.1);
    this.sun.castShadow = true;
    this.sun.shadow.mapSize.set(1024, 1024);
    this.sun.shadow.normalBias = 0.02;
    const fill = new THREE.DirectionalLight('#fff', 0.5);
    fill.position.set(-3, 1, -2);
    scene.add(new THREE.HemisphereLight('#fff', '#b8bcc4', 1.2), this.sun, this.sun.target, fill);
    this.floor = new THREE.Mesh(new THREE.PlaneGeometry(1, 1).rotateX(-Math.PI / 2), new THREE.ShadowMaterial());
    this.floor.receiveShadow = true;
    this.ground = new THREE.Group().add(this.floor);
    scene.add(this.ground);
    this.screen = new THREE.Mesh(new THREE.PlaneGeometry(1, 1), new THREE.MeshBasicMaterial({toneMapped: false}));
    this.screen.visible = false;
    this.frustum = new THREE.LineSegments(new THREE.BufferGeometry(), new THREE.LineBasicMaterial());
    world.add(this.screen, this.frustum);
  }

  /** Sets ground, light and camera for the place of a frame. */
  set(frame, theme) {
    const place = placeOf(frame), colors = THEMES[theme];
    this.scene.background = new THREE.Color(colors.space);
    this.floor.material.opacity = colors.shadow;
    this.frustum.material.color.set(colors.camera);
    this.world.rotation.x = place.pitch;
    this.world.updateMatrixWorld(true);
    this.setGround(place, colors.lines);
    const size = Math.hypot(...place.high.map((high, i) => high - place.low[i])), {shadow} = this.sun;
    this.sun.position.set(0.5 * size, 1.6 * size, 0.8 * size);
    Object.assign(shadow.camera, {left: -size, right: size, top: size, bottom: -size, near: 0.1, far: 5 * size});
    shadow.camera.updateProjectionMatrix();
    this.setCamera(frame, place);
  }

  setGround(place, color) {
    if (this.grid) {
      this.ground.remove(this.grid);
      this.grid.dispose();
    }
    const reach = Math.max(...[0, 2].map(i => Math.max(place.high[i], -place.low[i]))) + 1.5;
    const step = Math.max(1, Math.pow(10, Math.ceil(Math.log10(2 * reach / MOST_LINES))));
    const cells = 2 * Math.ceil(reach / step);
    this.grid = new THREE.GridHelper(cells * step, cells, color, color);
    this.ground.add(this.grid);
    this.floor.scale.setScalar(4 * reach);
  }

  /** Where the picture's camera is, and the pyramid that it sees. */
  setCamera(frame, place) {
    const {focal, middle, size} = cameraOf(frame);
    this.frustum.visible = Boolean(focal);
    if (!focal) return;
    this.eye = new THREE.Vector3(...place.origin).negate();
    const depth = 0.4, corners = [[0, 0], [size[0], 0], size, [0, size[1]]].map(([x, y]) => new THREE.Vector3(
      (x - middle[0]) / focal, (middle[1] - y) / focal, -1).multiplyScalar(depth).add(this.eye));
    const lines = corners.flatMap((corner, i) => [this.eye, corner, corner, corners[(i + 1) % 4]]);
    this.frustum.geometry.setFromPoints(lines);
    this.frustum.geometry.computeBoundingSphere();
    this.setScreen(cameraOf(frame), -place.origin[2] - place.low[2]);
  }

  /** The picture's camera in the scene, or a point in front of it, metres. */
  seen(depth = 0) {
    return this.world.localToWorld(new THREE.Vector3(0, 0, -depth).add(this.eye));
  }

  /** The picture stands behind the people, where its camera sees it. */
  setScreen({focal, middle, size}, farthest) {
    const depth = 1.15 * Math.max(farthest, 1) + 1;
    this.screen.scale.set(depth * size[0] / focal, depth * size[1] / focal, 1);
    this.screen.position.set(
      (size[0] / 2 - middle[0]) * depth / focal, (middle[1] - size[1] / 2) * depth / focal, -depth).add(this.eye);
  }

  /** Puts an image or a video onto the screen; `share` is the part of its width to show. */
  setTexture(texture, share) {
    texture.colorSpace = THREE.SRGBColorSpace;
    texture.repeat.set(share, 1);
    this.screen.material.map = texture;
    this.screen.material.needsUpdate = true;
  }
}
