// The page: its parts, and what each tells the others.

import {Body} from 'page/bodies.js';
import {content, isHere, isVideo} from 'page/data.js';
import {openDownloads} from 'page/downloads.js';
import {showFacts} from 'page/facts.js';
import {listenToKeys} from 'page/keys.js';
import {makePicture, showPicture} from 'page/picture.js';
import {PeopleList} from 'page/people.js';
import {Player} from 'page/player.js';
import {hasSamples} from 'page/samples.js';
import {Space} from 'page/space.js';
import {Timeline} from 'page/timeline.js';

const get = id => document.getElementById(id);
const root = document.documentElement;
const FIRM = 6; // pixels that a tap may slip
const shown = makePicture();
const player = new Player(isVideo ? shown : null);
const timeline = new Timeline(player);
const bodies = content.people.map(person => new Body(person));
const space = makeSpace();
const list = new PeopleList(get('people'), bodies, {
  onshow: (person, visible) => { person.visible = visible; space?.show(player.frame); },
  onfollow: follow,
  onchoose: person => list.choose(person),
});

/** The 3D view; null and a message where the browser has no WebGL. */
function makeSpace() {
  try {
    return new Space(get('canvas'), bodies, shown);
  } catch (error) {
    get('nothing').textContent = 'This browser shows no 3D: WebGL is off or missing. ' +
      'Switch on hardware acceleration in its settings, or open the page in another browser.';
    get('nothing').hidden = false;
    get('canvas').hidden = get('views').hidden = true;
    console.info(`no 3D: ${error.message}`);
    return null;
  }
}

function show() {
  const {frame} = player;
  root.dataset.frame = frame;
  showPicture(shown, frame);
  timeline.show(frame);
  list.show(frame);
  space?.show(frame);
  if (!space) return;
  const nobody = !content.people.some(person => isHere(person, frame));
  get('nothing').hidden = !nobody || isVideo && content.people.length > 0;
  get('nothing').textContent = 'Nobody was found here.';
  if (get('facts').dataset.here !== String(frame)) get('facts').hidden = true;
}

function follow(person) {
  const next = space?.followed === person ? null : person;
  space?.follow(next);
  list.follow(next);
}

function followNext() {
  const here = bodies.filter(person => person.visible && isHere(person, player.frame));
  if (here.length) follow(here[(here.indexOf(space.followed) + 1) % here.length]);
}

function setTheme(theme) {
  root.dataset.theme = theme;
  space?.setTheme(theme);
}

function setMode(mode) {
  for (const button of document.querySelectorAll('[data-mode]')) {
    button.setAttribute('aria-pressed', button.dataset.mode === mode);
  }
  space.setMode(mode);
}

function togglePeople() {
  const open = get('people').dataset.open === 'false';
  get('people').dataset.open = open;
  get('people-button').setAttribute('aria-expanded', open);
}

function toggleGround() {
  const ground = space.stage.ground;
  ground.visible = !ground.visible;
  get('grid').setAttribute('aria-pressed', ground.visible);
  space.draw();
}

function toggleSamples() {
  space.showSamples(!space.sampled);
  get('samples').setAttribute('aria-pressed', space.sampled);
}

function reset() {
  if (space.followed) follow(null);
  space.look('all');
}

const toggles = {
  help: () => get('help').showModal(),
  theme: () => setTheme(root.dataset.theme === 'dark' ? 'light' : 'dark'),
  people: togglePeople,
  ground: toggleGround,
  samples: toggleSamples,
  mode: setMode,
  follow: followNext,
  reset,
};

function listenToSpace() {
  space.onview = view => {
    for (const button of document.querySelectorAll('[data-view]')) {
      button.setAttribute('aria-pressed', button.dataset.view === view);
    }
  };
  for (const button of document.querySelectorAll('[data-view]')) {
    button.onclick = () => {
      if (space.followed) follow(null);
      space.look(button.dataset.view);
    };
  }
  for (const button of document.querySelectorAll('[data-mode]')) button.onclick = () => setMode(button.dataset.mode);
  get('grid').onclick = toggleGround;
  get('samples').onclick = toggleSamples;
  get('samples').hidden = !hasSamples;
  listenToPointer();
}

function listenToPointer() {
  const canvas = get('canvas');
  let pressed = {};
  const tell = event => {
    const found = space.pick(event.offsetX, event.offsetY);
    showFacts(found, player.frame, event.offsetX, event.offsetY);
    get('facts').dataset.here = player.frame;
    list.choose(found);
  };
  canvas.addEventListener('pointermove', event => { if (event.pointerType === 'mouse' && !event.buttons) tell(event); });
  canvas.addEventListener('pointerleave', () => { get('facts').hidden = true; });
  canvas.addEventListener('pointerdown', event => { pressed = event; get('facts').hidden = true; });
  canvas.addEventListener('click', event => {
    const moved = Math.hypot(event.clientX - pressed.clientX, event.clientY - pressed.clientY);
    if (moved < FIRM) tell(event);
  });
}

function summary() {
  const {frames, people} = content, count = (n, one, more) => `${n} ${n === 1 ? one : more}`;
  return `${count(frames.length, isVideo ? 'frame' : 'picture', isVideo ? 'frames' : 'pictures')} · ` +
    count(people.length, 'person', 'people');
}

get('summary').textContent = summary();
get('people-button').onclick = togglePeople;
get('downloads-button').onclick = () => openDownloads(bodies, player.frame);
get('help-button').onclick = toggles.help;
get('theme-button').onclick = toggles.theme;
get('people').dataset.open = String(!matchMedia('(max-width: 820px), (max-height: 480px)').matches);
get('people-button').setAttribute('aria-expanded', get('people').dataset.open);
player.addEventListener('frame', show);
player.addEventListener('playing', () => { root.dataset.playing = player.playing; });
listenToKeys({player, space, toggles});
if (space) listenToSpace();
setTheme(matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
if (space) setMode('mesh');
player.seek(0);
if (space) space.resize();
else root.dataset.ready = Math.round(performance.now());
