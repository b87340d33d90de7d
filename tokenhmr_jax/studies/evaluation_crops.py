"""Crops of the evaluation beside the original's and those of training.

    python -m tokenhmr_jax.studies.evaluation_crops --out=CROPS.png

Squares of 256, 512 and 1024 px of a test chart, or of your `--picture`, shrink by 1, 2 and 4. Their
crops, as `datasets/hmr_eval` keeps pictures and as datasets for training keep them, are compared
with the original's recipe: affine map of three points in float32, bilinear, no low-pass. Prints a
table of the differences in grey levels, of the contrast in shares of the original's, and of times.
See docs/evaluation_crops.md.
"""

import pathlib
import time
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

from tokenhmr_jax import cli
from tokenhmr_jax.data import augment, crops, pictures, records
from tokenhmr_jax.drawing import draw, render
from tokenhmr_jax.drawing.markdown import markdown_table, rows_by_name

SHRINKS = (1, 2, 4)
_AMPLIFIED = 4  # differences in the picture
_TIMES = 20
_HEADER = (
    'shrink', 'crops of', 'mean difference', '99th percentile', 'largest', 'contrast', 'ms',
)  # fmt: skip


def original_crop(
    image: UInt8[np.ndarray, 'H W 3'], center: crops.Pair, side: float, crop_size: int
) -> UInt8[np.ndarray, 'S S 3']:
    """The square of a picture as the original's training and evaluation cut it."""
    x, y = center
    middle = crop_size / 2
    place = np.float32([(x, y), (x, y + side / 2), (x + side / 2, y)])
    target = np.float32([(middle, middle), (middle, crop_size), (crop_size, middle)])
    matrix = cv2.getAffineTransform(place, target)
    return cv2.warpAffine(image, matrix, (crop_size, crop_size), flags=cv2.INTER_LINEAR)


def compare(
    file: bytes, center: crops.Pair, side: float, crop_size: int
) -> tuple[dict[str, UInt8[np.ndarray, 'S S 3']], list[list[str]]]:
    """Crops of a square of an image file, by name, and lines of the table.

    Raises ValueError for a file that cannot be decoded, and a square outside the picture.
    """
    image = pictures.decode_picture(file, 'the picture')
    box, labels = (center, (side, side)), {'focal_length': 1.0}
    kept = {
        'evaluation': records.assemble_file(file, 'evaluation', *box, labels),
        'training': records.assemble(image, 'training', *box, labels, resolution=crop_size),
    }
    found, lines = {'original': original_crop(image, center, side, crop_size)}, []
    for name, record in kept.items():
        start = time.perf_counter()
        for _ in range(_TIMES):
            crop = augment.augment_crop(record, augment.Augmentation(), crop_size)['image']
        milliseconds = 1000 * (time.perf_counter() - start) / _TIMES
        found[name] = crop
        off = np.abs(crop.astype(int) - found['original'])
        share = contrast(crop) / contrast(found['original'])
        numbers = off.mean(), np.percentile(off, 99), off.max()
        lines.append([name, *(f'{n:.2f}' for n in numbers), f'{share:.0%}', f'{milliseconds:.1f}'])
    return found, lines


def draw_chart(size: int = 1200) -> bytes:
    """A PNG file of spokes, alike at any scale, on a texture, with lines of text."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] - size / 2
    spokes = np.where(np.cos(36 * np.arctan2(y, x)) > 0, 215, 40)[..., None]
    image = (spokes + rng.normal(0, 15, (size, size, 3))).clip(0, 255).astype(np.uint8)
    for line, scale in enumerate(np.geomspace(0.3, 2, 12)):
        at, font = (size // 2 - 90, size // 2 - 110 + 28 * line), cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(image, 'tokens of poses', at, font, float(scale), (200, 60, 30), 1, cv2.LINE_AA)
    return cv2.imencode('.png', image[..., ::-1])[1].tobytes()


def contrast(image: UInt8[np.ndarray, 'H W 3']) -> float:
    """Mean step between neighbouring pixels, grey levels."""
    return float(np.mean([np.abs(np.diff(image.astype(int), axis=axis)).mean() for axis in (0, 1)]))


def draw_crops(found: dict[int, dict[str, np.ndarray]]) -> UInt8[np.ndarray, 'H W 3']:
    """A row for each shrink: original, evaluation, its difference, training, its difference."""
    tiles, titles = [], []
    for shrink, images in found.items():
        original = images['original']
        tiles.append(original)
        titles.append(f'shrink {shrink}: original')
        for name in ('evaluation', 'training'):
            off = _AMPLIFIED * np.abs(images[name].astype(int) - original)
            tiles += [images[name], np.minimum(off, 255).astype(np.uint8)]
            titles += [name, f'difference x {_AMPLIFIED}']
    caption = ((24, 0), (0, 0), (0, 0))
    padded = [np.pad(tile, caption, constant_values=255) for tile in tiles]
    return render.contact_sheet(padded, 5, titles)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    picture = flags.path('picture', '', 'JPEG or PNG file. Default: the test chart.')
    middle = flags.words('center', None, 'X,Y of the squares in it, px. Default: its middle.')
    crop_size = flags.integer('crop_size', 256, 'Side of the crops, px.', lower_bound=16)
    out = flags.path('out', None, 'Picture to write.', required=True)

    def command():
        name = picture.value
        file = pathlib.Path(name).read_bytes() if name else draw_chart()
        size = pictures.picture_size(file, name or 'the test chart')
        center = [float(n) for n in middle.value] if middle.value else [n / 2 for n in size]
        found, lines = {}, []
        for shrink in SHRINKS:
            side = crop_size.value * shrink
            found[shrink], each = compare(file, center, side, crop_size.value)
            lines += [[str(shrink), *line] for line in each]
        draw.write_image(out.value, draw_crops(found))
        print(markdown_table(_HEADER, lines))
        return cli.Done(out.value, f'look at {out.value}', rows_by_name(_HEADER, lines))

    cli.run(flags, command)


if __name__ == '__main__':
    main()
