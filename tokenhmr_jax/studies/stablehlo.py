"""Export of a regressor as a StableHLO program.

    python -m tokenhmr_jax.studies.stablehlo --checkpoint=WORKDIR --out=FOLDER

Writes `model.bin`, the program; `weights.npz`; and `load.py`, which runs it with JAX and NumPy
alone, on CPUs, CUDA GPUs and TPUs. With --batch, the number of crops is fixed, and compilers can
optimise more.
"""

import pathlib
import shlex
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from tokenhmr_jax import cli
from tokenhmr_jax.inference.model import Model, load
from tokenhmr_jax.tasks import make_task

_PLATFORMS = ('cpu', 'cuda', 'tpu')
_LOADER = '''"""Bodies in square crops: `python load.py CROPS.npy OUT.npz`.

Crops are (B, {size}, {size}, 3) uint8, RGB; {batch}. Results: rotations are matrices in the
crop camera's axes (x right, y down, z forward); vertices, joints and keypoints3d are metres from
the body's origin; camera is (s, tx, ty); keypoints2d are fractions of the crop's side from its
centre.
"""

import pathlib
import sys

import jax
import numpy as np
from jax import export

HERE = pathlib.Path(__file__).parent
program = export.deserialize((HERE / 'model.bin').read_bytes())
with np.load(HERE / 'weights.npz') as content:
    weights = jax.device_put([content[str(i)] for i in range(len(content.files))])
call = jax.jit(program.call)


def predict(crops):
    return jax.device_get(call(weights, crops))


if __name__ == '__main__':
    np.savez(sys.argv[2], **predict(np.load(sys.argv[1])))
'''


def export_program(model: Model, out: str, batch: int | None = None) -> None:
    """Writes a model's program, weights and loader into a new folder.

    `batch` is the number of crops in a call, None for any. Raises ValueError if the folder exists,
    or batch is below 1.
    """
    size = model.config.data.crop_size
    if pathlib.Path(out).exists():
        raise ValueError(f'{out} exists: expected another --out')
    if not model.reads_image:
        raise ValueError(f'{model.name} reads 2D keypoints: expected a network that reads pictures')
    if batch is not None and batch < 1:
        raise ValueError(f'batch={batch}: expected at least 1')
    leaves, structure = jax.tree.flatten((model.params, model.state, model.body))
    shapes = [jax.ShapeDtypeStruct(np.shape(x), x.dtype) for x in leaves]
    crop_shape = jax.export.symbolic_shape(f'{batch or "b"}, {size}, {size}, 3')
    crops = jax.ShapeDtypeStruct(crop_shape, jnp.uint8)
    program = _program(make_task(model.config), structure, batch is None)
    exported = jax.export.export(jax.jit(program), platforms=_PLATFORMS)(shapes, crops)
    text = 'any B' if batch is None else f'B is {batch}'
    with cli.whole_folder(out) as place:
        folder = pathlib.Path(place)
        (folder / 'model.bin').write_bytes(exported.serialize())
        np.savez(folder / 'weights.npz', **{str(i): np.asarray(x) for i, x in enumerate(leaves)})
        (folder / 'load.py').write_text(_LOADER.format(size=size, batch=text))


def _program(task, structure, any_batch: bool) -> Callable:
    """A function of leaves and crops that returns arrays by name."""

    def bodies(leaves, crops):
        params, state, body = jax.tree.unflatten(structure, leaves)
        found = task.bodies(params, state, body, crops)
        arrays = {
            'global_orient': found.params.global_orient,
            'body_pose': found.params.body_pose,
            'betas': found.params.betas,
            'camera': found.camera,
            'vertices': found.body.vertices,
            'joints': found.body.joints,
            'keypoints3d': found.keypoints3d,
            'keypoints2d': found.keypoints2d,
        }
        if found.token_probs is not None:
            kind = 'pose' if task.model.has_pose_tokens else 'residual'
            arrays[f'{kind}_token_probs'] = found.token_probs
        return arrays

    def one(leaves, crop):
        return jax.tree.map(lambda x: x[0], bodies(leaves, crop[None]))

    # Mapped over crops, the model's code sees no batch of symbolic size.
    return jax.vmap(one, in_axes=(None, 0)) if any_batch else bodies


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    checkpoint = flags.path('checkpoint', None, "A regressor's workdir.", required=True)
    step = flags.string('step', 'best', "Which step: 'best', 'last', or its number.")
    out = flags.path('out', None, 'Folder to write.', required=True)
    batch = flags.integer('batch', None, 'Crops in a call. Default: any number.')

    def command():
        export_program(load(checkpoint.value, step.value), out.value, batch.value)
        return cli.Done(out.value, f'python {shlex.quote(out.value)}/load.py CROPS.npy OUT.npz')

    cli.run(flags, command)


if __name__ == '__main__':
    main()
