// Keys of the whole page.

/** Calls actions by keys. Fields and open dialogs keep their own. */
export function listenToKeys({player, space, toggles}) {
  const actions = {
    ' ': () => player.toggle(),
    ArrowLeft: event => player.step(event.shiftKey ? -10 : -1),
    ArrowRight: event => player.step(event.shiftKey ? 10 : 1),
    Home: () => player.step(-player.count),
    End: () => player.step(player.count),
    '?': toggles.help,
    t: toggles.theme,
    p: toggles.people,
    ...(space && {
      1: () => toggles.mode('mesh'),
      2: () => toggles.mode('skeleton'),
      3: () => toggles.mode('wireframe'),
      r: () => toggles.reset(),
      c: () => space.look('camera'),
      g: toggles.ground,
      s: toggles.samples,
      f: toggles.follow,
    }),
  };
  document.addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
    const {target, key} = event, action = actions[key.length === 1 ? key.toLowerCase() : key];
    const own = target.matches('select') || (key === ' ' && target.matches('button, input[type=checkbox], summary'));
    if (!action || own) return;
    event.preventDefault();
    action(event);
  });
}
