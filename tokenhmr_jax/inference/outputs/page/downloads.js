// Files of the people, made of what the page holds.

import {content, css, isHere, isVideo, make} from 'page/data.js';
import {bvhOf} from 'page/bvh.js';
import {glbOf} from 'page/glb.js';
import {npzOf} from 'page/npz.js';

const dialog = document.getElementById('downloads');

/** Opens the dialog for the bodies of a video, or of the picture that is shown. */
export function openDownloads(bodies, frame) {
  const people = isVideo ? bodies : bodies.filter(body => isHere(body, frame));
  const stem = isVideo ? content.title : content.frames[frame].name, rows = people.map(body => rowOf(body, stem));
  const all = line(['all people'], [button('GLB', 'all people', `${stem}.glb`, () => glbOf(people))]);
  const table = make('table', {}, ...(people.length > 1 ? [all] : []), ...rows);
  const nobody = make('p', {textContent: 'Nobody is here.'});
  dialog.querySelector('div').replaceChildren(people.length ? table : nobody);
  dialog.showModal();
}

function rowOf(body, stem) {
  const dot = make('span', {className: 'dot'}), name = `${stem}_${body.name.replace(' ', '_')}`;
  dot.style.cssText = `display: inline-block; background: ${css(body.color)}`;
  return line([dot, ` ${body.name}`], [
    button('GLB', body.name, `${name}.glb`, () => glbOf([body])),
    button('BVH', body.name, `${name}.bvh`, () => new Blob([bvhOf(body)])),
    button('npz', body.name, `${name}.npz`, () => npzOf(body)),
  ]);
}

function line(title, buttons) {
  return make('tr', {}, make('td', {}, ...title), ...buttons.map(each => make('td', {}, each)));
}

function button(kind, whose, name, content) {
  const made = make('button', {textContent: kind});
  made.setAttribute('aria-label', `${kind} of ${whose}`);
  made.onclick = () => save(content(), name);
  return made;
}

function save(blob, name) {
  const link = make('a', {href: URL.createObjectURL(blob), download: name});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
