"""Packaging. `pip install -e .[test]` for the tests, `.[cuda]` on GPUs, `.[tpu]` on TPUs."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(r"__version__ = '(.+)'", (HERE / 'tokenhmr_jax/__init__.py').read_text())[1]

setup(
    name='tokenhmr_jax',
    version=VERSION,
    description='TokenHMR in JAX: 3D human bodies from one image, through pose tokens',
    long_description=(HERE / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    # datasets/, configs/ and launch/ are used from a checkout: `datasets` as a top-level import
    # belongs to another library.
    packages=find_packages(include=['tokenhmr_jax', 'tokenhmr_jax.*']),
    package_data={
        'tokenhmr_jax': [
            'objectives/tals_thresholds.csv',
            'inference/page.html',
            'bundled/**',
            'bundled/**/.*',
        ]
    },
    python_requires='>=3.11,<3.14',
    install_requires=[
        'absl-py>=2.1',
        'array-record>=0.7',
        # Its conversion to RGB knows the frames' colour space and range from 17 on.
        'av>=17',
        'chex>=0.1.90',
        'flatbuffers>=24',
        'flax>=0.11,<0.14',
        'jax>=0.8',
        'jaxtyping>=0.3',
        'ml-collections>=1.0',
        'numpy>=1.26',
        'opencv-python-headless>=4.11,<5',
        'optax>=0.2.5',
        'orbax-checkpoint>=0.11.25,<0.13',
        'pillow>=10.1',
        'scipy>=1.13',
        'tensorboard>=2.18',
        'tensorflow-datasets>=4.9.9',
        'tqdm>=4.66',
        'trimesh>=4.5',
    ],
    extras_require={
        'tpu': ['jax[tpu]>=0.8'],
        'cuda': ['jax[cuda12]>=0.8'],
        # bvhio and pygltflib read what is written; scikit-image has a photograph.
        'test': [
            'beartype>=0.20',
            'bvhio>=1.5',
            'grain>=0.2.12,<0.4',  # whose order of records ours is
            'import-linter>=2.9',
            'ipykernel>=6.29',
            'matplotlib>=3.8',
            'nbclient>=0.10',
            'pandas>=2.2',
            'pygltflib>=1.16',
            'pytest>=8',
            'pytest-xdist>=3.7',
            'ruff>=0.9',
            'scikit-image>=0.24',
            'scikit-learn>=1.5',
        ],
        # Plots of runs and of the pose space.
        'report': ['matplotlib>=3.8', 'pandas>=2.2', 'scikit-learn>=1.5'],
        # Preparing datasets on a cluster. TFDS' own extra pins an old Beam.
        'beam': ['apache-beam>=2.60'],
        # Reading PyTorch checkpoints; 2.10 for its fixes of weights_only loading.
        'convert': ['torch>=2.10'],
        # Finding persons and their keypoints: BlazePose on LiteRT, small, and without PyTorch.
        # scikit-image and matplotlib bring photographs in the public domain.
        'photos': ['ai-edge-litert>=1.2', 'matplotlib>=3.8', 'scikit-image>=0.24'],
        # The same by torchvision's Keypoint R-CNN; it and its weights are BSD.
        # RTMPose has no extra: rtmlib names opencv-python, which overwrites the headless one. So:
        # pip install --no-deps rtmlib && pip install onnxruntime
        'predict': ['torchvision>=0.20'],
        'benchmark': ['torch>=2.10', 'smplx>=0.1.28'],
    },
)
