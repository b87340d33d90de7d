// The picture, or the video, with the bodies over it.

import {bytesOf, cameraOf, content, isVideo, make} from 'page/data.js';

const panel = document.getElementById('picture');
const frame = make('div', {className: 'frame'});

/** Fills the panel; returns its element: an image or a video. */
export function makePicture() {
  const shown = isVideo ? makeVideo() : make('img', {alt: ''});
  frame.append(shown);
  panel.append(frame);
  return shown;
}

function makeVideo() {
  const text = document.getElementById('video');
  const blob = new Blob([bytesOf(text.textContent)], {type: 'video/webm'});
  text.remove();
  const video = make('video', {muted: true, playsInline: true, preload: 'auto'});
  video.addEventListener('error', () => panel.append(make('p', {
    className: 'message', textContent: 'This browser cannot play the video (VP9). The bodies move without it.'})));
  video.src = URL.createObjectURL(blob);
  panel.style.setProperty('--share', content.video.share);
  fit(0);
  return video;
}

function fit(number) {
  const [width, height] = cameraOf(number).size;
  document.querySelector('main').style.setProperty('--aspect', width / height);
}

/** Shows a picture; a video shows itself. */
export function showPicture(shown, number) {
  if (isVideo) return;
  fit(number);
  shown.src = content.frames[number].image;
  shown.alt = `${content.frames[number].name}, with the bodies over it`;
}
