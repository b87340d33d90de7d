"""Bodies on photographs: pictures, prediction and web page.

    python -m tokenhmr_jax.demo --out=runs/demo

The pictures are photographs in the public domain that installed packages carry, a rendered group,
and your own with --photos=FOLDER. OUT/pictures holds them, OUT/result the result of `predict`,
OUT/demo.jpg a sheet of its overlays. The same command run again continues an interrupted one; with
other pictures, it starts again.
"""

import importlib.util
import os
import pathlib
import shutil
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

from tokenhmr_jax import cli
from tokenhmr_jax.inference.inputs import picture_files
from tokenhmr_jax.inference.outputs.page import write_page
from tokenhmr_jax.inference.people import finders
from tokenhmr_jax.inference.prediction import PredictSettings, predict_with_checkpoint
from tokenhmr_jax.mannequin import group
from tokenhmr_jax.readers import listing

_GROUP = 'group.png'  # written first: a folder with it is the demo's
_WIDTH, _HIGHEST = 1000, 500  # pixels of the sheet, and of a row of it
_MOST = 24  # pictures of the sheet
_QUALITY = 80


def run_demo(
    checkpoint: str,
    out: str | os.PathLike,
    photos: str | os.PathLike | None = None,
    settings: PredictSettings | None = None,
) -> pathlib.Path:
    """Collects pictures, predicts on them and writes the page; returns the page's path.

    Raises ImportError without a detector of persons, FileNotFoundError for a folder without
    pictures or a missing checkpoint, ValueError for an `out` with something else, or with another
    checkpoint's result.
    """
    folder, settings = pathlib.Path(out), settings or PredictSettings()
    _check_detector(settings)
    pictures, result = folder / 'pictures', folder / 'result'
    if collect_pictures(pictures, photos) and (result / 'result.json').exists():
        shutil.rmtree(result)
    predict_with_checkpoint(checkpoint, 'best', str(pictures), str(result), settings)
    page = write_page(result)
    overlays = sorted((result / 'overlays').glob('[!.]*.jpg'))[:_MOST]
    sheet = overlay_rows([picture_files.read_picture(path).image[..., ::-1] for path in overlays])
    _write_jpeg(folder / 'demo.jpg', sheet)
    print(f'bodies over the pictures: {result / "overlays"}, all on one sheet: {folder}/demo.jpg')
    return page


def _check_detector(settings: PredictSettings) -> None:
    try:
        finders.check_finder(settings.boxes, settings.keypoints)
    except ImportError as error:
        if settings.boxes != 'detect':
            raise
        raise ImportError(
            'no detector of persons is installed: expected one, for example by '
            '`pip install "tokenhmr_jax[photos]"`, or by `make demo`'
        ) from error


def collect_pictures(folder: pathlib.Path, photos: str | os.PathLike | None = None) -> bool:
    """Fills a folder with the demo's pictures and the user's own; returns whether it changed.

    A picture of the user's replaces one of the same file name. Raises FileNotFoundError for
    `photos` without pictures, ValueError for a folder of something else.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / _GROUP).exists():
        raise ValueError(f'{folder} holds other files: expected another --out')
    own = {path.name: path.read_bytes() for path in _own(photos)}
    contents = {_GROUP: _png(group.draw_group().image)} | _carried() | own
    folder.mkdir(parents=True, exist_ok=True)
    stale = [path for path in folder.iterdir() if path.name not in contents]
    for path in stale:
        path.unlink()
    changed = bool(stale)
    for name, content in contents.items():
        path = folder / name
        if path.exists() and path.read_bytes() == content:
            continue
        with cli.whole_file(path) as partial:
            partial.write_bytes(content)
        changed = True
    return changed


def _own(photos: str | os.PathLike | None) -> list[pathlib.Path]:
    if photos is None:
        return []
    folder = pathlib.Path(photos)
    if not folder.is_dir():
        raise FileNotFoundError(f'--photos={photos}: no such folder')
    found = listing.find_files(folder, '*')
    found = [path for path in found if path.suffix.lower() in picture_files.SUFFIXES]
    if not found:
        suffixes = ', '.join(picture_files.SUFFIXES)
        raise FileNotFoundError(f'--photos={photos}: no pictures; expected {suffixes}')
    return found


def _carried() -> dict[str, bytes]:
    """Photographs in the public domain of those packages that are installed."""
    found = {}
    if importlib.util.find_spec('skimage'):
        from skimage import data

        found['astronaut.png'] = _png(data.astronaut())
    if importlib.util.find_spec('matplotlib'):
        from matplotlib import cbook

        path = cbook.get_sample_data('grace_hopper.jpg', asfileobj=False)
        found['grace_hopper.jpg'] = pathlib.Path(path).read_bytes()
    return found


def _png(image: UInt8[np.ndarray, 'H W 3']) -> bytes:
    return cv2.imencode('.png', image[..., ::-1])[1].tobytes()


def overlay_rows(images: Sequence[UInt8[np.ndarray, '_ _ 3']]) -> UInt8[np.ndarray, '_ W 3']:
    """Pictures in rows of one width, each row of one height; the last row may end sooner."""
    rows, row = [], []
    for image in images:
        row.append(image)
        if _total_aspect(row) >= _WIDTH / _HIGHEST:
            rows.append(row)
            row = []
    rows += [row] if row else []
    return np.concatenate([_drawn_row(row) for row in rows])


def _total_aspect(images: Sequence[np.ndarray]) -> float:
    return sum(image.shape[1] / image.shape[0] for image in images)


def _drawn_row(images: Sequence[np.ndarray]) -> np.ndarray:
    height = round(min(_WIDTH / _total_aspect(images), _HIGHEST))
    widths = [round(height * image.shape[1] / image.shape[0]) for image in images]
    parts = [
        cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        for image, width in zip(images, widths, strict=True)
    ]
    row = np.concatenate(parts, axis=1)[:, :_WIDTH]
    return np.pad(row, ((0, 0), (0, _WIDTH - row.shape[1]), (0, 0)), constant_values=255)


def _write_jpeg(path: pathlib.Path, image: np.ndarray) -> None:
    data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    with cli.whole_file(path) as partial:
        partial.write_bytes(data.tobytes())


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    out = flags.path('out', 'runs/demo', 'Folder of pictures and result.')
    photos = flags.path('photos', None, 'Folder of your own pictures.')
    checkpoint = flags.path(
        'checkpoint', 'bundled', "A regressor's workdir, or 'bundled', the package's own."
    )

    def command():
        cli.keep_compiled()
        page = run_demo(checkpoint.value, out.value, photos.value or None)
        return cli.Done(out.value, f'open {page.resolve().as_uri()} in a browser')

    cli.run(flags, command, on_interrupt='interrupted; run the same command again to go on')


if __name__ == '__main__':
    main()
