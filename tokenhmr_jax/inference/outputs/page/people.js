// The list of people: shown or not, followed or not, and when they are there.

import {cameraOf, clock, content, css, isHere, isVideo, make} from 'page/data.js';

const SHORT = 1; // seconds; shorter tracks are folded away
const ICON = '<svg><use href="#i-follow"/></svg>';

/** Seconds from a person's first frame to the end of the last. */
export function timesOf(person) {
  const last = content.frames[Math.min(person.first + person.count, content.frames.length) - 1];
  return [content.frames[person.first].time, last.time + 1 / content.fps];
}

export class PeopleList {
  /** `people`: bodies, or plain persons where there is no 3D. */
  constructor(panel, people, {onshow, onfollow, onchoose}) {
    this.panel = panel;
    this.people = people;
    this.calls = {onshow, onfollow, onchoose};
    this.rows = new Map(people.map(person => [person, this.makeRow(person)]));
    if (isVideo) this.fillVideo();
  }

  makeRow(person) {
    const box = make('input', {type: 'checkbox', checked: true});
    box.onchange = () => this.calls.onshow(person, box.checked);
    const dot = make('span', {className: 'dot'});
    dot.style.background = css(person.color);
    const label = make('label', {}, box, dot, person.name);
    const follow = make('button', {innerHTML: ICON, title: 'Follow'});
    follow.setAttribute('aria-label', `Follow ${person.name}`);
    follow.setAttribute('aria-pressed', false);
    follow.onclick = () => this.calls.onfollow(person);
    const row = make('li', {}, label, follow);
    row.onmouseenter = () => this.calls.onchoose(person);
    row.onmouseleave = () => this.calls.onchoose(null);
    if (isVideo) {
      label.append(make('small', {textContent: timesOf(person).map(clock).join(' – ')}));
      row.append(spanOf(person));
    }
    return row;
  }

  /** A video's people, the longest first; short tracks are folded away. */
  fillVideo() {
    const seconds = person => timesOf(person)[1] - timesOf(person)[0];
    const sorted = [...this.people].sort((a, b) => b.count - a.count || a.first - b.first);
    const all = timesOf({first: 0, count: content.frames.length})[1];
    const isShort = person => seconds(person) < SHORT && seconds(person) < all / 2;
    const long = sorted.filter(person => !isShort(person)), short = sorted.filter(isShort);
    this.panel.replaceChildren(...this.section('People', long));
    if (short.length) {
      const list = make('ul', {}, ...short.map(person => this.rows.get(person)));
      const title = make('summary', {textContent: `${short.length} short track${short.length > 1 ? 's' : ''}`});
      this.panel.append(make('details', {}, title, list));
    }
    if (content.short_tracks) {
      this.panel.append(make('p', {className: 'note',
        textContent: `In the video alone: ${content.short_tracks} still shorter.`}));
    }
    this.panel.append(...cameraFacts(0));
  }

  section(title, people) {
    const list = make('ul', {}, ...people.map(person => this.rows.get(person)));
    const none = make('p', {textContent: 'Nobody is here.', className: 'note'});
    return [make('h2', {textContent: title}), people.length ? list : none];
  }

  /** Marks who is there; a picture lists its own people. */
  show(frame) {
    const here = this.people.filter(person => isHere(person, frame));
    if (!isVideo) this.panel.replaceChildren(...this.section('People', here), ...cameraFacts(frame));
    else for (const [person, row] of this.rows) row.dataset.here = isHere(person, frame);
  }

  choose(person) {
    for (const [other, row] of this.rows) row.dataset.chosen = other === person;
  }

  follow(person) {
    for (const [other, row] of this.rows) row.querySelector('button').setAttribute('aria-pressed', other === person);
  }
}

/** A bar of the time in which a person is there. */
export function spanOf(person) {
  const share = frames => `${100 * frames / content.frames.length}%`, bar = document.createElement('i');
  Object.assign(bar.style, {
    marginLeft: share(person.first), width: `max(3px, ${share(person.count)})`, background: css(person.color)});
  return make('div', {className: 'span'}, bar);
}

/** Rows of facts about the picture's camera: names and values. */
export function cameraRows(frame) {
  const {size, focal, source} = cameraOf(frame), rows = [['picture', `${size[0]} × ${size[1]} px`]];
  if (focal) {
    const degrees = size.map(side => Math.round(360 / Math.PI * Math.atan(side / 2 / focal)));
    rows.push(['focal length', `${Math.round(focal)} px`], ['field of view', `${degrees[0]}° × ${degrees[1]}°`]);
  }
  return [...rows, ['source', source]];
}

function cameraFacts(frame) {
  const rows = cameraRows(frame).flatMap(([name, value]) => [
    make('dt', {textContent: name}), make('dd', {textContent: value})]);
  return [make('h2', {textContent: 'Camera'}), make('dl', {}, ...rows)];
}
