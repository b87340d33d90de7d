"""TokenHMR in JAX: 3D human bodies from one image, through pose tokens."""

__version__ = '0.1.0'
