// Timeline of frames, or thumbnails of pictures, and the buttons of the player.

import {clock, content, isVideo, make} from 'page/data.js';
import {spanOf} from 'page/people.js';

const MOST_SPANS = 6;
const get = id => document.getElementById(id);

export class Timeline {
  constructor(player) {
    this.player = player;
    const time = get('time');
    time.max = player.count - 1;
    time.oninput = () => {
      player.pause();
      player.seek(Number(time.value));
    };
    get('play').onclick = () => player.toggle();
    get('back').onclick = () => player.step(-1);
    get('on').onclick = () => player.step(1);
    get('speed').onchange = event => player.setSpeed(Number(event.target.value));
    for (const id of ['back', 'play', 'on', 'time']) get(id).disabled = player.count < 2;
    player.addEventListener('playing', () => this.showPlaying());
    if (isVideo) this.addSpans();
    else if (player.count > 1) this.addThumbnails();
  }

  addSpans() {
    const longest = [...content.people].sort((a, b) => b.count - a.count).slice(0, MOST_SPANS);
    get('spans').append(...longest.sort((a, b) => a.first - b.first).map(spanOf));
  }

  addThumbnails() {
    this.thumbnails = content.frames.map((frame, i) => {
      const image = make('img', {src: frame.image, alt: '', loading: 'lazy', decoding: 'async'});
      const button = make('button', {title: frame.name}, image);
      button.setAttribute('role', 'option');
      button.setAttribute('aria-label', frame.name);
      button.onclick = () => this.player.seek(i);
      return button;
    });
    get('thumbnails').append(...this.thumbnails);
    get('thumbnails').hidden = false;
  }

  show(frame) {
    const {name, time} = content.frames[frame];
    get('time').value = frame;
    get('time').setAttribute('aria-valuetext', name);
    get('name').textContent = isVideo ? `frame ${frame} · ${clock(time)}` : name;
    get('name').title = name;
    this.thumbnails?.forEach((button, i) => button.setAttribute('aria-selected', i === frame));
    const chosen = this.thumbnails?.[frame], strip = get('thumbnails');
    if (chosen) strip.scrollLeft = chosen.offsetLeft - (strip.clientWidth - chosen.clientWidth) / 2;
  }

  showPlaying() {
    const {playing} = this.player;
    get('play').setAttribute('aria-label', playing ? 'Pause' : 'Play');
    get('play').querySelector('use').setAttribute('href', playing ? '#i-pause' : '#i-play');
  }
}
