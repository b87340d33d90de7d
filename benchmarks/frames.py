"""Pictures of BEDLAM's size with made-up people, in the format of the 4D-Humans tars."""

import io
import pathlib
import pickle
import tarfile

import cv2
import numpy as np

WIDTH, HEIGHT = 1280, 720
SMALLEST, LARGEST = 200, 600  # sides of people's boxes, px


def write_tar(path: pathlib.Path, pictures: int, persons: int, seed: int = 0) -> None:
    """Writes a tar of pictures, each with some people."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    # Pictures share a few shifted textures: a texture takes long to make.
    textures = [_texture(rng) for _ in range(4)]
    with tarfile.open(path, 'w') as tar:
        for number in range(pictures):
            image = np.roll(textures[number % len(textures)], 37 * number, axis=1)
            _, jpeg = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 95])
            people = [_person(rng) for _ in range(persons)]
            for part, data in (('jpg', jpeg.tobytes()), ('data.pyd', pickle.dumps(people))):
                member = tarfile.TarInfo(f'{number:06d}.{part}')
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def _texture(rng: np.random.Generator) -> np.ndarray:
    """Noise with a spectrum like that of photographs."""
    fy, fx = np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)
    spectrum = np.maximum(np.hypot(fx, fy), 1 / WIDTH) ** -1.4
    planes = []
    for _ in range(3):
        phase = np.exp(2j * np.pi * rng.random(spectrum.shape))
        plane = np.fft.irfft2(spectrum * phase, (HEIGHT, WIDTH))
        planes.append(128 + 45 * plane / plane.std())
    grey = np.mean(planes, axis=0)
    return np.clip(0.3 * np.stack(planes, -1) + 0.7 * grey[..., None], 0, 255).astype(np.uint8)


def _person(rng: np.random.Generator) -> dict:
    side = rng.uniform(SMALLEST, LARGEST)
    center = rng.uniform((0.2 * WIDTH, 0.3 * HEIGHT), (0.8 * WIDTH, 0.7 * HEIGHT))
    points = center + side * rng.uniform(-0.4, 0.4, (44, 2))
    return {
        'keypoints_2d': np.c_[points, np.ones(44)].astype(np.float32),
        'keypoints_3d': np.c_[rng.normal(0, 0.5, (44, 3)), np.ones(44)].astype(np.float32),
        'center': center,
        'scale': np.array([0.6 * side, side]) / 200,
        'body_pose': rng.normal(0, 0.2, 72).astype(np.float32),
        'betas': rng.uniform(-1, 1, 10).astype(np.float32),
        'has_body_pose': np.array(1.0),
        'has_betas': np.array(1.0),
        'extra_info': {},
    }
