// The frame that is shown, and its clock.

import {content} from 'page/data.js';

export class Player extends EventTarget {
  /** `video`: the element whose time is the clock, as long as it can be played; or null. */
  constructor(video) {
    super();
    const {frames, fps} = content;
    this.video = video;
    this.frame = 0;
    this.playing = false;
    this.speed = 1;
    this.count = frames.length;
    // Pictures stay for a second each.
    this.times = frames.map((frame, i) => (fps ? frame.time : i));
    this.end = this.times[this.count - 1] + 1 / (fps || 1);
  }

  get usesVideo() {
    return this.video && !this.video.error && this.video.readyState >= 2;
  }

  /** The last frame whose time has come. */
  frameAt(time) {
    let low = 0, high = this.count - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.times[middle] <= time + 1e-3) low = middle; else high = middle - 1;
    }
    return low;
  }

  seek(frame, moveVideo = true) {
    this.frame = Math.max(0, Math.min(this.count - 1, frame));
    this.time = this.times[this.frame];
    if (moveVideo && this.video) this.video.currentTime = this.time + 1e-3;
    this.dispatchEvent(new Event('frame'));
  }

  step(count) {
    this.pause();
    this.seek(this.frame + count);
  }

  toggle() {
    if (this.playing) this.pause(); else this.play();
  }

  play() {
    if (this.playing || this.count < 2) return;
    this.playing = true;
    if (this.frame === this.count - 1) this.seek(0);
    this.startVideo();
    this.last = performance.now();
    this.dispatchEvent(new Event('playing'));
    requestAnimationFrame(now => this.tick(now));
  }

  // Also before it has loaded: it then starts as soon as it can.
  startVideo() {
    if (!this.video) return;
    this.video.playbackRate = this.speed;
    this.video.play().catch(() => {});
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    if (this.video) this.video.pause();
    this.seek(this.frame);
    this.dispatchEvent(new Event('playing'));
  }

  setSpeed(speed) {
    this.speed = speed;
    if (this.video) this.video.playbackRate = speed;
  }

  tick(now) {
    if (!this.playing) return;
    const passed = this.speed * Math.max(now - this.last, 0) / 1000;
    this.last = now;
    this.time = this.usesVideo ? this.video.currentTime : this.time + passed;
    if (this.time >= this.end || (this.usesVideo && this.video.ended)) {
      this.seek(0);
      this.startVideo();
    } else {
      const frame = this.frameAt(this.time), time = this.time;
      if (frame !== this.frame) this.seek(frame, false);
      this.time = time;
    }
    requestAnimationFrame(later => this.tick(later));
  }
}
