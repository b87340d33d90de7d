"""Contents of the wheel; pyproject.toml has the rest. `pip install -e .[test]` for the tests.

In the wheel configs/ is a folder of the package: `--config=regressor` finds its files there.
datasets/ and launch/ are used from a checkout: `datasets` as a top-level import belongs to another
library.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=['tokenhmr_jax', 'tokenhmr_jax.*']), 'tokenhmr_jax.configs'],
    package_dir={'tokenhmr_jax.configs': 'configs'},
    package_data={
        'tokenhmr_jax': [
            'objectives/tals_thresholds.csv',
            'inference/outputs/page/**',
            'py.typed',
            'bundled/**',
            'bundled/**/.*',
        ]
    },
)
