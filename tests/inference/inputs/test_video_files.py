"""Videos as players show them: times, proportions, orientations, and what is missing."""

import itertools

import av
import numpy as np
import pytest
from moving_pictures import set_display_matrix, write_video
from PIL import Image

from tokenhmr_jax.inference.inputs import sources, video_files
from tokenhmr_jax.inference.outputs import webm


def scene(width=96, height=64, shift=0):
    """Dark, the quarter at the top left white; a bar that moves."""
    image = np.full((height, width, 3), 40, np.uint8)
    image[: height // 2, : width // 2] = 255
    image[-height // 4 :, 4 * shift : 4 * shift + 8] = (200, 60, 30)
    return image


def read(path):
    """The source, its frames, and the error that follows them, or None."""
    source = sources.open_source(path)
    frames = list(source.frames(lambda name: False))
    errors = [frame.error for frame in frames if frame.error]
    assert len(errors) <= 1
    return source, [frame for frame in frames if not frame.error], errors[0] if errors else None


UNEVEN = [0, 1 / 30, 2 / 30, 0.1, 0.2, 0.3, 0.7, 0.8]


@pytest.mark.parametrize(
    'name, codec, start, exact',
    [
        ('a.mp4', 'libx264', 0.0, 1e-4), ('a.mp4', 'libx264', 2.5, 1e-4), ('a', 'libx264', 0, 1e-4),
        ('a.mkv', 'libx264', 0.0, 1e-3), ('a.webm', 'libvpx', 0.0, 1e-3),
        ('a.ts', 'mpeg2video', 0.0, 1e-4), ('a.mov', 'mpeg4', 0.0, 1e-4),
    ],
)  # fmt: skip
def test_each_frame_has_its_own_time(name, codec, start, exact, tmp_path):
    """From the first frame, whatever the container's clock says then."""
    images = [scene(shift=i) for i in range(len(UNEVEN))]
    suffixed = tmp_path / (name if '.' in name else f'{name}.mp4')
    write_video(suffixed, images, np.array(UNEVEN) + start, codec)
    suffixed.rename(tmp_path / name)
    source, frames, error = read(tmp_path / name)
    assert isinstance(source, sources.Video) and error is None
    assert [frame.name for frame in frames] == [f'{i:06d}' for i in range(len(UNEVEN))]
    np.testing.assert_allclose([frame.time for frame in frames], UNEVEN, atol=exact)
    skipped = list(source.frames(lambda name: True))
    assert [frame.time for frame in skipped] == [frame.time for frame in frames]
    assert all(frame.image is None for frame in skipped)


def test_times_of_a_constant_rate_are_not_rounded(tmp_path):
    """Matroska rounds 30 frames per second to 0, 33, 67, 100 ms; AVI has no times of its own."""
    times = np.arange(12) / 30
    for name, codec in (('a.mkv', 'libx264'), ('a.webm', 'libvpx-vp9'), ('a.flv', 'flv1')):
        write_video(tmp_path / name, [scene(shift=i) for i in range(12)], times, codec)
        source, frames, _ = read(tmp_path / name)
        np.testing.assert_allclose([frame.time for frame in frames], times, atol=1e-9)
        assert source.fps == pytest.approx(30)
    with av.open(str(tmp_path / 'a.avi'), 'w') as container:
        stream = container.add_stream('libx264', rate=25, options={'bf': '2'})
        stream.width, stream.height, stream.pix_fmt = 96, 64, 'yuv420p'
        for i in range(12):
            frame = av.VideoFrame.from_ndarray(scene(shift=i), format='rgb24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    _, frames, _ = read(tmp_path / 'a.avi')
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(12) / 25, atol=1e-9)


@pytest.mark.parametrize('name', ['a.gif', 'a.png', 'a.webp', 'dance'])
def test_animated_pictures_are_videos(name, tmp_path):
    clear = np.dstack([scene(), np.full((64, 96), 255, np.uint8)])
    clear[40:, :, 3] = 0
    pictures = [Image.fromarray(np.roll(clear, 8 * i, axis=1)) for i in range(3)]
    options = {'save_all': True, 'append_images': pictures[1:], 'duration': [100, 50, 200]}
    pictures[0].save(tmp_path / name, format=None if '.' in name else 'GIF', **options)
    source, frames, error = read(tmp_path / name)
    assert error is None and len(source) == 3
    np.testing.assert_allclose([frame.time for frame in frames], [0, 0.1, 0.15], atol=1e-9)
    for i, frame in enumerate(frames):
        found = frame.image.astype(int)
        assert (
            abs(found[10, 8 * i + 20] - 255).max() < 8 and abs(found[10, 8 * i + 70] - 40).max() < 8
        )
        assert (found[50] > 250).all()  # clear: over white


def test_what_is_a_video(tmp_path):
    """By content: one picture is a picture, whatever its format; text is neither."""
    still = Image.fromarray(scene())
    for name in ('a.gif', 'b.png', 'c.webp', 'd.jpg', 'e'):
        still.save(tmp_path / name, format=None if '.' in name else 'PNG')
        assert isinstance(sources.open_source(tmp_path / name), sources.Images), name
    still.save(tmp_path / 'pages.tif', save_all=True, append_images=[still])
    still.save(tmp_path / 'left_right.mpo', save_all=True, append_images=[still])
    for name in ('pages.tif', 'left_right.mpo'):
        assert isinstance(sources.open_source(tmp_path / name), sources.Images), name
    (tmp_path / 'notes.txt').write_text('walk, then turn\n' * 100)
    with pytest.raises(ValueError, match=r'notes\.txt: neither a picture nor a video'):
        sources.open_source(tmp_path / 'notes.txt')
    (tmp_path / 'notes.mp4').write_text('walk, then turn\n' * 100)
    with pytest.raises(ValueError, match=r'notes\.mp4: cannot be opened as a video'):
        sources.open_source(tmp_path / 'notes.mp4')


def quarter(image):
    """Which quarter of a picture is white: its row and column."""
    height, width = image.shape[:2]
    means = [[image[h : h + height // 2, w : w + width // 2].mean() for w in (0, width // 2)]
             for h in (0, height // 2)]  # fmt: skip
    return tuple(int(i) for i in np.unravel_index(np.argmax(means), (2, 2)))


# x' = a x + c y, y' = b x + d y of the screen, and where the quarter at the top left goes.
ORIENTATIONS = {
    (1, 0, 0, 1): (0, 0), (-1, 0, 0, 1): (0, 1), (1, 0, 0, -1): (1, 0), (-1, 0, 0, -1): (1, 1),
    (0, 1, 1, 0): (0, 0), (0, 1, -1, 0): (0, 1), (0, -1, 1, 0): (1, 0), (0, -1, -1, 0): (1, 1),
}  # fmt: skip


@pytest.mark.parametrize('matrix', ORIENTATIONS)
def test_turned_and_mirrored_videos(matrix, tmp_path):
    path = write_video(tmp_path / 'a.mp4', [scene()] * 3, [0, 0.1, 0.2])
    set_display_matrix(path, *matrix)
    _, frames, _ = read(path)
    assert frames[0].image.shape == ((64, 96, 3) if matrix[0] else (96, 64, 3))
    assert quarter(frames[0].image) == ORIENTATIONS[matrix]


def test_pixels_that_are_not_square(tmp_path):
    """Never fewer pixels than the file has; a turn comes after."""
    from fractions import Fraction as Ratio

    for ratio, size in ((Ratio(64, 45), (137, 64)), (Ratio(8, 9), (96, 72)), (Ratio(1), (96, 64))):
        for name in ('a.mp4', 'a.mkv'):
            path = write_video(tmp_path / name, [scene()] * 3, [0, 0.1, 0.2], ratio=ratio)
            _, frames, _ = read(path)
            assert frames[0].image.shape[1::-1] == size
            assert quarter(frames[0].image) == (0, 0)
    path = write_video(tmp_path / 'a.mp4', [scene()] * 3, [0, 0.1, 0.2], ratio=Ratio(2))
    set_display_matrix(path, 0, 1, -1, 0)
    assert read(path)[1][0].image.shape == (192, 64, 3)


@pytest.mark.parametrize(
    'name, codec, pix_fmt',
    [('a.mp4', 'libx264', 'yuv420p10le'), ('a.mov', 'prores_ks', 'yuv422p10le'),
     ('a.mkv', 'libx264', 'yuv444p'), ('a.mov', 'mjpeg', 'yuvj420p'), ('a.mkv', 'ffv1', 'gray')],
)  # fmt: skip
def test_colours_of_other_depths_and_ranges(name, codec, pix_fmt, tmp_path):
    """An odd size too, where the codec has it."""
    odd = codec == 'ffv1'
    path = write_video(tmp_path / name, [scene(97 if odd else 96, 65 if odd else 64)] * 3,
                       [0, 0.1, 0.2], codec, pix_fmt=pix_fmt)  # fmt: skip
    image = read(path)[1][0].image.astype(int)
    assert image.shape == ((65, 97, 3) if odd else (64, 96, 3))
    assert abs(image[10, 20] - 255).max() < 4 and abs(image[10, 80] - 40).max() < 4


def test_the_colour_matrix_is_the_streams(tmp_path):
    """One colour by BT.709 and by BT.601, of limited and of full range."""
    color = np.array([200, 40, 60])
    for matrix, (red, blue) in ((1, (0.2126, 0.0722)), (5, (0.299, 0.114))):
        r, g, b = color / 255
        luma = red * r + (1 - red - blue) * g + blue * b
        chroma = (b - luma) / (2 - 2 * blue), (r - luma) / (2 - 2 * red)
        for full in (False, True):
            values = [255 * luma if full else 16 + 219 * luma]
            values += [128 + (255 if full else 224) * c for c in chroma]
            frame = av.VideoFrame(64, 48, 'yuv444p')
            for plane, value in zip(frame.planes, values, strict=True):
                plane.update(bytes([round(value)]) * plane.buffer_size)
            frame.colorspace, frame.color_range = matrix, 2 if full else 1
            with av.open(str(tmp_path / 'a.mp4'), 'w') as container:
                stream = container.add_stream('libx264', rate=25)
                stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv444p'
                stream.options = {'crf': '4'}
                stream.codec_context.colorspace = matrix
                stream.codec_context.color_range = 2 if full else 1
                container.mux(stream.encode(frame))
                container.mux(stream.encode())
            assert abs(read(tmp_path / 'a.mp4')[1][0].image[20, 30] - color).max() < 4


CONTAINERS = [
    ('a.mp4', 'libx264', {'movflags': 'faststart'}),
    ('a.mp4', 'libx264', {'movflags': 'frag_keyframe+empty_moov'}),
    ('a.mov', 'mjpeg', {'movflags': 'faststart'}), ('a.mkv', 'libx264', {}),
    ('a.webm', 'libvpx', {}), ('a.avi', 'mpeg4', {}), ('a.avi', 'mjpeg', {}),
    ('a.flv', 'flv1', {}), ('a.mpg', 'mpeg2video', {}), ('a.ts', 'libx264', {}),
    ('a.m2ts', 'libx264', {'mpegts_m2ts_mode': '1'}),
]  # fmt: skip


def noisy(count):
    """Pictures that no codec makes small."""
    noise = np.random.default_rng(0).integers(0, 256, (count, 64, 96, 3), np.uint8)
    return [np.where(scene(shift=i) > 100, scene(shift=i), noise[i] // 2) for i in range(count)]


@pytest.mark.parametrize('name, codec, options', CONTAINERS)
def test_a_video_that_breaks_off(name, codec, options, tmp_path):
    """All before the break is read, and it is said that more is missing."""
    path = write_video(tmp_path / name, noisy(30), np.arange(30) / 30, codec, options,
                       'yuvj420p' if codec == 'mjpeg' else 'yuv420p')  # fmt: skip
    _, whole, error = read(path)
    assert len(whole) == 30 and error is None
    path.write_bytes(path.read_bytes()[: int(0.6 * path.stat().st_size)])
    _, frames, error = read(path)
    assert 1 <= len(frames) <= 20
    assert name in error and ('its end is missing' in error or 'damaged' in error)
    for found, expected in zip(frames[:-1], whole, strict=False):
        np.testing.assert_array_equal(found.image, expected.image)
    again = read(path)[1]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(frames, again, strict=True))


def test_a_cut_without_encoding_misses_nothing(tmp_path):
    """As of `ffmpeg -ss -c copy`: packets before the cut are in the file, but not shown."""
    write_video(tmp_path / 'whole.mp4', noisy(30), np.arange(30) / 30)
    whole, cut = av.open(str(tmp_path / 'whole.mp4')), av.open(str(tmp_path / 'cut.mp4'), 'w')
    with whole, cut:
        source = whole.streams.video[0]
        stream = cut.add_stream_from_template(source)
        for packet in whole.demux(source):
            if packet.size:
                packet.pts -= round(11 / 30 / source.time_base)
                packet.dts -= round(11 / 30 / source.time_base)
                packet.stream = stream
                cut.mux(packet)
    with av.open(str(tmp_path / 'cut.mp4')) as cut:
        assert cut.streams.video[0].frames == 30
    _, frames, error = read(tmp_path / 'cut.mp4')
    assert len(frames) == 19 and error is None
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(19) / 30, atol=1e-4)


def test_damage_in_the_middle(tmp_path):
    """The frames around it are kept, and it is said."""
    path = write_video(tmp_path / 'a.mp4', noisy(30), np.arange(30) / 30, 'libx264')
    with av.open(str(path)) as container:
        entry = list(container.streams.video[0].index_entries)[15]
    content = bytearray(path.read_bytes())
    content[entry.pos : entry.pos + entry.size] = bytes(entry.size)
    path.write_bytes(content)
    _, frames, error = read(path)
    assert 'a.mp4: damaged from frame 1' in error and '29 of 30 frames' in error
    assert len(frames) == 29 and frames[-1].time == pytest.approx(29 / 30)


def test_a_clock_that_begins_anew(tmp_path):
    """Joined recordings: times go on."""
    for part in 'ab':
        write_video(tmp_path / f'{part}.ts', noisy(8), 5 + np.arange(8) / 30, 'mpeg2video')
    write_video(tmp_path / 'c.ts', noisy(8), 500 + np.arange(8) / 30, 'mpeg2video')
    joined = tmp_path / 'joined.ts'
    joined.write_bytes(b''.join((tmp_path / f'{part}.ts').read_bytes() for part in 'abc'))
    times = [frame.time for frame in read(joined)[1]]
    assert len(times) >= 22
    assert all(0 < after - before < 0.1 for before, after in itertools.pairwise(times))


@pytest.mark.parametrize('size', [(96, 64), (97, 65)])
def test_a_written_video_keeps_its_times(size, tmp_path):
    """Pictures and times as they come, also equal ones."""
    images = [scene(*size, shift=i) for i in range(8)]
    times = [*UNEVEN[:-1], UNEVEN[-2] + 1e-5]
    webm.write_webm(tmp_path / 'a.webm', zip(times, images, strict=True), 30.0)
    _, frames, error = read(tmp_path / 'a.webm')
    assert error is None
    np.testing.assert_allclose([frame.time for frame in frames], times, atol=1.1e-3)
    for frame, image in zip(frames, images, strict=True):
        assert frame.image.shape == image.shape
        assert np.abs(frame.image.astype(int) - image).mean() < 6
    assert not list(tmp_path.glob('.*'))
    with pytest.raises(OSError, match=r'nowhere/a\.webm: cannot be written as VP9'):
        webm.write_webm(tmp_path / 'nowhere/a.webm', [(0.0, images[0])], 30.0)


def test_a_wrong_header_of_avi(tmp_path):
    """It promises more frames, or more bytes, than there are: nothing is missing."""
    path = write_video(tmp_path / 'a.avi', noisy(12), np.arange(12) / 30, 'mpeg4')
    content = bytearray(path.read_bytes())
    whole = bytes(content)
    for name, at in ((b'avih', 24), (b'strh', 40)):
        start = content.index(name) + at
        assert int.from_bytes(content[start : start + 4], 'little') == 12
        content[start : start + 4] = (30).to_bytes(4, 'little')
    path.write_bytes(content)
    source, frames, error = read(path)
    assert len(source) == 30 and len(frames) == 12 and error is None
    path.write_bytes(whole[:4] + (len(whole) + 1000).to_bytes(4, 'little') + whole[8:])
    assert len(read(path)[1]) == 12 and read(path)[2] is None


def test_animations_in_a_folder_are_left_out_by_name(tmp_path):
    still = Image.fromarray(scene())
    still.save(tmp_path / 'a.png')
    still.save(
        tmp_path / 'dance.gif', save_all=True, append_images=[Image.fromarray(255 - scene())]
    )
    source = sources.open_source(tmp_path)
    assert source.names == ['a']
    assert any('1 video (dance.gif) left out' in line for line in source.notes)


def test_no_notes_of_ffmpeg(tmp_path, capfd):
    path = write_video(tmp_path / 'a.avi', noisy(8), np.arange(8) / 30, 'mpeg4')
    path.write_bytes(path.read_bytes()[:-9000])
    capfd.readouterr()
    read(path)
    video_files.is_video(path)
    assert capfd.readouterr() == ('', '')
