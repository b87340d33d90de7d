// Facts about the body or the camera that is pointed at.

import {clock, css, isVideo, make, placeOf} from 'page/data.js';
import {cameraRows, timesOf} from 'page/people.js';

const panel = document.getElementById('facts');

/** Shows facts near a point of the 3D view, pixels; `found` is a body, 'camera' or null. */
export function showFacts(found, frame, x, y) {
  panel.hidden = !found;
  if (!found) return;
  const lines = found === 'camera' ? cameraRows(frame).map(row => row.join(': ')) : bodyLines(found, frame);
  const title = make('b', {}, found === 'camera' ? "The picture's camera" : found.name);
  if (found !== 'camera') {
    const dot = make('span', {className: 'dot'});
    dot.style.background = css(found.color);
    title.prepend(dot);
  }
  panel.replaceChildren(title, ...lines.map(line => make('span', {textContent: line})));
  const {clientWidth: width, clientHeight: height} = panel.parentElement;
  const left = Math.min(x + 14, width - panel.offsetWidth - 6), top = Math.min(y + 14, height - panel.offsetHeight - 6);
  panel.style.transform = `translate(${Math.max(left, 6)}px, ${Math.max(top, 6)}px)`;
}

function bodyLines(body, frame) {
  const {origin} = placeOf(frame), row = 3 * (frame - body.first);
  const away = origin.map((x, i) => x + body.root[row + i]);
  const lines = [
    `${Math.hypot(...away).toFixed(2)} m from the camera`,
    `${body.height.toFixed(2)} m ${isVideo ? 'tall' : 'from its lowest to its highest point'}`,
    `confidence of the detector ${body.score.toFixed(2)}`,
  ];
  if (isVideo) {
    lines.push(`there from ${timesOf(body).map(clock).join(' to ')}, ${body.count} frames`);
  }
  return lines;
}
