"""The page in a headless Chromium: what a user sees, and what each control does."""

import itertools
import shutil

import cv2
import numpy as np
import pygltflib
import pytest
from browser import Browser
from page_results import add_samples
from scipy.spatial.transform import Rotation

from tokenhmr_jax.inference.outputs import page, results

FRAME = 'Number(document.documentElement.dataset.frame)'


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp('profile'))
    yield opened
    opened.close()


@pytest.fixture(scope='module')
def film_page(film_result, tmp_path_factory):
    path = tmp_path_factory.mktemp('film') / 'view.html'
    path.write_text(page.page(film_result))
    return path


@pytest.fixture(scope='module')
def album_page(album_result, tmp_path_factory):
    path = tmp_path_factory.mktemp('album') / 'view.html'
    path.write_text(page.page(album_result))
    return path


def screenshot(browser):
    """The page as RGB, when all that waits is drawn."""
    browser.evaluate(
        'new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))'
    )
    data = np.frombuffer(browser.screenshot(), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(int)


def space_of(browser):
    """The pixels of the 3D view below its buttons."""
    box = browser.evaluate(
        "(b => [b.left, b.top, b.right, b.bottom])(document.querySelector('#canvas')"
        '.getBoundingClientRect())'
    )
    left, top, right, bottom = map(round, box)
    return screenshot(browser)[top + 60 : bottom - 2, left + 2 : right - 2]


def colored(pixels):
    """Numbers of blue pixels and of orange ones."""
    excess = pixels[..., 2] - pixels[..., 0]
    return (excess > 40).sum(), (excess < -40).sum()


def middle_of(browser):
    return browser.evaluate(
        "(b => [b.left + b.width / 2, b.top + b.height / 2])(document.querySelector('#canvas')"
        '.getBoundingClientRect())'
    )


def edge(browser, what, side):
    return browser.evaluate(f"document.querySelector('{what}').getBoundingClientRect().{side}")


@pytest.mark.parametrize(
    ('size', 'phone'),
    [
        pytest.param((1400, 900), False, marks=pytest.mark.slow),
        ((390, 844), True),
        pytest.param((844, 390), True, marks=pytest.mark.slow),
    ],
    ids=['desk', 'phone', 'phone on its side'],
)
def test_the_page_opens_without_errors_or_requests(browser, film_page, size, phone):
    """With nothing beside it; on a phone, the buttons stand above the 3D view."""
    browser.open(film_page, *size, touch=phone)
    assert min(colored(space_of(browser))) > 100
    assert (edge(browser, '#views', 'bottom') <= edge(browser, '#canvas', 'top')) == phone
    assert edge(browser, 'main', 'bottom') <= edge(browser, 'footer', 'top')
    outside = [url for url in browser.requests if not url.startswith(('data:', 'blob:'))]
    assert browser.errors == [] and outside == [film_page.as_uri()]
    overflow = 'document.documentElement.scrollWidth - innerWidth'
    assert browser.evaluate(overflow) == 0


@pytest.mark.slow
def test_it_plays_steps_and_pauses(browser, film_page):
    browser.open(film_page, 700, 600)
    label = "document.querySelector('#play').getAttribute('aria-label')"
    assert browser.evaluate(label) == 'Play'
    browser.click('#play')
    assert browser.evaluate(label) == 'Pause'
    browser.wait_for(f'{FRAME} > 2')
    browser.key(' ')
    paused = browser.evaluate(FRAME)
    assert browser.evaluate(label) == 'Play'
    browser.key('ArrowRight')
    assert browser.evaluate(FRAME) == min(paused + 1, 11)
    browser.key('Home')
    browser.key('ArrowLeft')
    assert browser.evaluate(FRAME) == 0
    browser.key('End')
    assert browser.evaluate(FRAME) == 11
    # The bodies of a frame are the video's of that frame.
    time = "document.querySelector('video').currentTime"
    browser.wait_for("!document.querySelector('video').seeking")
    assert browser.evaluate(time) == pytest.approx(1.1, abs=0.01)
    browser.evaluate("document.querySelector('#speed').value = '2'")
    browser.evaluate("document.querySelector('#speed').onchange({target: {value: '2'}})")
    assert browser.evaluate("document.querySelector('video').playbackRate") == 2
    assert browser.errors == []


@pytest.mark.slow
def test_people_are_hidden_turned_and_followed(browser, film_page):
    browser.open(film_page, 1000, 700)
    before = space_of(browser)
    browser.click('#people input')
    blue, orange = colored(space_of(browser))
    assert blue == 0 and orange > 100
    browser.click('#people input')
    x, y = middle_of(browser)
    browser.mouse('Pressed', x, y)
    browser.mouse('Moved', x + 150, y + 20)
    browser.mouse('Released', x + 150, y + 20)
    assert browser.evaluate("document.querySelector('#facts').hidden")
    turned = space_of(browser)
    assert (abs(turned - before).sum(axis=2) > 60).sum() > 500 and min(colored(turned)) > 100
    browser.key('r')
    np.testing.assert_allclose(space_of(browser), before, atol=8)
    browser.click('#people li button')
    assert sum(colored(space_of(browser))) > 2 * sum(colored(before))
    assert browser.evaluate("document.querySelector('#people li button').ariaPressed") == 'true'
    browser.key('r')
    assert browser.errors == []


@pytest.mark.slow
def test_fingers_turn_and_zoom(browser, film_page):
    browser.open(film_page, 390, 844, touch=True)
    before = space_of(browser)
    x, y = middle_of(browser)
    browser.touch('Start', (x, y))
    for step in range(1, 5):
        browser.touch('Move', (x + 25 * step, y))
    browser.touch('End')
    turned = space_of(browser)
    assert (abs(turned - before).sum(axis=2) > 60).sum() > 200
    browser.touch('Start', (x - 100, y), (x + 100, y))
    for step in range(1, 5):
        browser.touch('Move', (x - 100 + 15 * step, y), (x + 100 - 15 * step, y))
    browser.touch('End')
    assert 0 < sum(colored(space_of(browser))) < 0.8 * sum(colored(turned))
    assert browser.errors == []


@pytest.mark.slow
def test_ways_to_draw_and_to_look(browser, film_page):
    """Mesh, bones and wireframe; the ground; dark and light; the picture's own camera."""
    browser.open(film_page, 1000, 700)
    seen = [space_of(browser)]
    for key in ('2', '3', '1', 'g', 't', 'c'):
        browser.key(key)
        seen.append(space_of(browser))
    for one, other in itertools.pairwise(seen):
        assert (abs(one - other).sum(axis=2) > 30).sum() > 100
    np.testing.assert_allclose(seen[3], seen[0], atol=8)  # mesh again
    assert seen[5].mean() < 100 < seen[0].mean()  # dark
    # The video fills the width, and its bodies are behind those in 3D.
    assert browser.evaluate("document.querySelector('[data-view=camera]').ariaPressed") == 'true'
    assert min(colored(seen[6])) > 1000
    browser.key('t')
    assert browser.errors == []


@pytest.mark.slow
def test_facts_of_what_is_pointed_at(browser, film_page):
    browser.open(film_page, 1000, 700)
    browser.key('r')
    browser.click('#people li button')  # a body in the middle
    x, y = middle_of(browser)
    browser.mouse('Moved', x, y, buttons=0, button='none')
    facts = browser.evaluate("document.querySelector('#facts').innerText")
    assert 'person 0' in facts and 'm from the camera' in facts and 'm tall' in facts
    assert '12 frames' in facts
    browser.mouse('Moved', x + 300, y, buttons=0, button='none')
    assert browser.evaluate("document.querySelector('#facts').hidden")


@pytest.mark.slow
def test_samples_are_shown_where_the_result_has_them(browser, album_page, album_result, tmp_path):
    hidden = "document.querySelector('#samples').hidden"
    browser.open(album_page, 1000, 700)
    assert browser.evaluate(hidden)
    before = space_of(browser)
    browser.key('s')
    np.testing.assert_allclose(space_of(browser), before, atol=8)
    shutil.copytree(album_result, tmp_path / 'r')
    for path in results.frame_paths(tmp_path / 'r')[:2]:
        add_samples(tmp_path / 'r', f'frames/{path.name}')
    browser.open(page.write_page(tmp_path / 'r'), 1000, 700)
    assert not browser.evaluate(hidden)
    shown = space_of(browser)
    browser.click('#samples')
    np.testing.assert_allclose(space_of(browser), before, atol=8)
    assert browser.evaluate("document.querySelector('#samples').ariaPressed") == 'false'
    browser.key('s')
    again = space_of(browser)
    np.testing.assert_allclose(again, shown, atol=8)
    changed = (abs(shown - before).sum(axis=2) > 30).sum()
    assert 50 < changed < 5000  # thin lines
    for box in range(3):
        browser.click(f'#people li:nth-child({box + 1}) input')
    assert sum(colored(space_of(browser))) == 0  # samples go with their person
    assert browser.errors == []


@pytest.mark.slow
def test_pictures_have_thumbnails_and_their_own_people(browser, album_page):
    browser.open(album_page, 1000, 700)
    names = browser.evaluate("[...document.querySelectorAll('#people li')].map(x => x.innerText)")
    assert [name.strip() for name in names] == ['person 0', 'person 1', 'person 2']
    assert sum(colored(space_of(browser))) > 1000
    browser.click('#thumbnails button:nth-child(2)')
    assert browser.evaluate(FRAME) == 1
    assert sum(colored(space_of(browser))) > 1000  # framed anew
    browser.key('ArrowRight')
    assert 'Nobody' in browser.evaluate("document.querySelector('#people').innerText")
    assert sum(colored(space_of(browser))) == 0
    assert browser.evaluate("document.querySelector('#nothing').hidden") is False
    assert browser.errors == []


@pytest.mark.slow
def test_files_of_the_page_are_those_of_the_result(browser, film_page, film_result, tmp_path):
    browser.open(film_page, 1000, 700)
    browser.call('Browser.setDownloadBehavior', behavior='allow', downloadPath=str(tmp_path))
    browser.click('#downloads-button')
    for kind in ('GLB', 'BVH', 'npz'):
        browser.click(f'[aria-label="{kind} of person 0"]')
    names = [f'film_result_person_0.{kind}' for kind in ('glb', 'bvh', 'npz')]
    glb, bvh, npz = (_waited(browser, tmp_path / name) for name in names)
    track = results.read_arrays(film_result / 'tracks/0.npz')
    found = results.read_arrays(npz)
    for name in ('global_orient', 'body_pose', 'betas', 'translation', 'index', 'time'):
        np.testing.assert_allclose(found[name], track[name], atol=2e-4, err_msg=name)
    assert _motion(bvh.read_text())[:, 3:] == pytest.approx(
        _motion((film_result / 'tracks/0.bvh').read_text())[:, 3:], abs=0.1
    )
    document = pygltflib.GLTF2().load(str(glb))
    assert len(document.skins) == 1 and len(document.animations[0].channels) == 25
    assert document.accessors[document.meshes[0].primitives[0].attributes.POSITION].count == 6890
    assert browser.errors == []


def _waited(browser, path):
    """A file when it is there."""
    for _ in range(200):
        if path.exists():
            break
        browser.evaluate('new Promise(done => setTimeout(done, 50))')
    return path


def _motion(text):
    """Rows of a BVH; the root's angles as a rotation vector, which has no second spelling."""
    rows = np.array([line.split() for line in text.split('Frame Time')[1].split('\n')[1:-1]], float)
    angles = rows[:, 3:].reshape(-1, 3)
    turns = Rotation.from_euler('ZXY', angles, degrees=True).as_matrix()
    return np.concatenate([rows[:, :3], turns.reshape(len(rows), -1)], axis=1)


@pytest.mark.slow
def test_without_webgl_there_is_a_message(tmp_path, film_page):
    browser = Browser(tmp_path, '--disable-3d-apis')
    try:
        browser.open(film_page, 700, 600)
        assert 'WebGL' in browser.evaluate("document.querySelector('#nothing').innerText")
        browser.key('ArrowRight')
        assert browser.evaluate(FRAME) == 1
    finally:
        browser.close()
