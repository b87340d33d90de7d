"""The web page of a result, also in a browser."""

import json
import shutil
import subprocess

import cv2
import numpy as np
import pytest
from small_model import picture

from tokenhmr_jax.inference import page, results


def test_the_page_holds_all_of_it(film):
    out, summary = film
    text = page.page(str(out))
    content = text.split('type="application/json">')[1].split('</script>')[0]
    data = json.loads(content)
    assert len(data['frames']) == summary['frames'] and len(data['people']) == 2
    times = [frame['time'] for frame in data['frames']]
    np.testing.assert_allclose(times, np.arange(len(times)) / 25, atol=1e-3)
    assert 'http' not in text  # it needs no network
    with pytest.raises(FileNotFoundError, match=r'no result.json'):
        page.page(str(out / 'frames'))


def test_a_page_says_what_it_leaves_out(tmp_path, capsys, monkeypatch):
    """Names that look like HTML stay names."""
    folder = tmp_path / 'DATA TITLE <b>'
    for name in ('overlays', 'frames', 'meshes'):
        (folder / name).mkdir(parents=True)
    (folder / 'result.json').write_text('{"request": {}}')
    for name in ('a<!--<script>', 'b'):
        cv2.imwrite(str(folder / f'overlays/{name}.jpg'), picture(8, 8))
        results.write_arrays(folder / f'frames/{name}.npz', {'boxes': np.zeros((2, 4))})
        for row in range(2):
            (folder / f'meshes/{name}_{row}.glb').write_bytes(b'a body')
    monkeypatch.setattr(page, '_MOST_FRAMES', 1)
    monkeypatch.setattr(page, '_MOST_PEOPLE', 1)
    text = page.page(str(folder))
    assert '<title>DATA TITLE &lt;b&gt;</title>' in text
    content = text.split('type="application/json">')[1].split('</script>')[0]
    assert '<' not in content
    data = json.loads(content)
    assert [frame['name'] for frame in data['frames']] == ['a<!--<script>']
    assert [person['label'] for person in data['people']] == ['a<!--<script> 0']
    said = capsys.readouterr().out
    assert 'the first 1 frames' in said and 'the first 1 persons' in said


@pytest.fixture(scope='module')
def browse():
    """A function that opens a page in a browser without a display, with options; what it prints."""
    names = ('chromium-headless-shell', 'chromium', 'google-chrome')
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip('no headless Chromium here')
    options = [
        '--headless', '--no-sandbox', '--use-gl=angle', '--use-angle=swiftshader',
        '--enable-unsafe-swiftshader', '--window-size=800,800', '--virtual-time-budget=3000',
    ]  # fmt: skip

    def run(path, option):
        line = [browser, *options, option, f'file://{path}']
        done = subprocess.run(line, check=True, timeout=120, capture_output=True, text=True)
        return done.stdout

    return run


def test_a_browser_draws_the_bodies_and_plays_the_video(film, browse, tmp_path):
    """The page above, the overlay video below it."""
    (tmp_path / 'view.html').write_text(page.page(str(film[0])))
    shutil.copy(film[0] / 'overlay.webm', tmp_path)
    (tmp_path / 'both.html').write_text(
        '<body style="margin:0"><iframe src="view.html" style="width:800px;height:400px;border:0">'
        '</iframe><video src="overlay.webm" autoplay muted loop style="position:absolute;top:400px;'
        'left:0;width:800px"></video></body>'
    )
    browse(tmp_path / 'both.html', f'--screenshot={tmp_path / "page.png"}')
    shot = cv2.imread(str(tmp_path / 'page.png')).astype(int)
    picture, space, video = shot[20:340, 20:380], shot[20:340, 420:780], shot[410:700, 10:500]
    assert picture.std() > 20 and video.std() > 20
    # Bodies are blue and orange, the floor's lines are nearly grey.
    blue, red = space[..., 0] - space[..., 2], space[..., 2] - space[..., 0]
    assert (blue > 40).sum() > 100 and (red > 40).sum() > 100


def test_the_page_answers_its_controls(film, browse, tmp_path):
    """The timeline shows its frame, a person vanishes, and the play button plays."""
    script = """<script>
      const colors = () => {
        draw();
        const pixels = new Uint8Array(4 * canvas.width * canvas.height);
        gl.readPixels(0, 0, canvas.width, canvas.height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
        let blue = 0, red = 0;
        for (let i = 0; i < pixels.length; i += 4) {
          blue += pixels[i + 2] - pixels[i] > 40;
          red += pixels[i] - pixels[i + 2] > 40;
        }
        return [blue, red];
      };
      const seen = {before: colors()};
      get('time').value = 3;
      get('time').dispatchEvent(new Event('input'));
      seen.moved = get('name').textContent;
      document.querySelector('#people input').click();
      seen.after = colors();
      get('play').click();
      setTimeout(() => {
        get('play').click();
        seen.played = now;
        document.body.innerHTML = `<pre>${JSON.stringify(seen)}</pre>`;
      }, 150);
    </script>"""
    (tmp_path / 'view.html').write_text(page.page(str(film[0])) + script)
    printed = browse(tmp_path / 'view.html', '--dump-dom')
    seen = json.loads(printed.split('<pre>')[1].split('</pre>')[0])
    assert min(seen['before']) > 100 and seen['moved'] == 'frame 3'
    assert seen['after'][0] == 0 and seen['after'][1] > 100
    assert 3 < seen['played'] < 9
