"""Memory for conversion and loading at the released size: ViT-H, 160 tokens of 2048 codes.

    python benchmarks/weights_memory.py --dir=/tmp/weights_memory

Writes a random checkpoint in the original's format (2.7 GB), converts it, loads the result, and
loads the same weights as training saves them: the backbone's blocks stacked in arrays of up to 0.8
GB. Each step is a process; the command prints its peak memory. Linux only.
"""

import argparse
import importlib.util
import json
import pathlib
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).parent.parent


def config():
    """The release's config on the mannequin."""
    spec = importlib.util.spec_from_file_location('regressor', ROOT / 'configs/regressor.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    released = module.get_config('variant=release')
    released.body = 'mannequin'
    released.model.backbone.scan = False
    return released


def write(folder: pathlib.Path) -> dict:
    """Writes a random checkpoint and its tokenizer by our own export; returns their size."""
    import jax
    import numpy as np

    from tokenhmr_jax.config import config_to_json
    from tokenhmr_jax.released.to_pytorch import file_contents
    from tokenhmr_jax.released.torch_files import write_checkpoint
    from tokenhmr_jax.tasks import make_task

    settings = config()
    shapes = jax.eval_shape(make_task(settings).init, jax.random.key(0))
    rng = np.random.default_rng(0)
    params, state = jax.tree.map(lambda x: rng.random(x.shape, np.float32) - 0.5, shapes)
    size = sum(x.nbytes for x in jax.tree.leaves((params, state)))
    model = {'params': params, 'state': vars(state)}
    for name, content in file_contents(config_to_json(settings), model, 0).items():
        write_checkpoint(folder / name, content)
    return {'gigabytes': size / 1e9}


def convert(folder: pathlib.Path) -> None:
    from tokenhmr_jax.convert import convert_weights

    names = ('tokenhmr.ckpt', 'converted', 'tokenizer.pth')
    source, workdir, tokenizer = (str(folder / name) for name in names)
    convert_weights(source, workdir, config(), tokenizer)


def load(folder: pathlib.Path, name: str = 'converted') -> None:
    import jax

    import tokenhmr_jax
    from tokenhmr_jax.training import malloc

    with malloc.large_arrays_given_back():  # as the commands do
        model = tokenhmr_jax.load(str(folder / name))
    jax.block_until_ready((model.params, model.state))


def save(folder: pathlib.Path) -> None:
    """Writes the converted weights as training saves them."""
    import numpy as np

    from tokenhmr_jax.checkpoints.store import Checkpoints
    from tokenhmr_jax.models import vit
    from tokenhmr_jax.models.regressor import FrozenWeights
    from tokenhmr_jax.types import TrainState

    with Checkpoints(str(folder / 'converted'), create=False) as saved:
        description, model = saved.read_config(0), saved.read_model(0)
    description['config']['model']['backbone']['scan'] = True
    params = model['params'] | {'backbone': vit.stack_blocks(model['params']['backbone'])}
    state = TrainState(np.int32(0), params, FrozenWeights(**model['state']), {'m': np.zeros(1)})
    with Checkpoints(str(folder / 'trained')) as saved:
        saved.save(state, {}, description, None)


def load_trained(folder: pathlib.Path) -> None:
    load(folder, 'trained')


def nothing(folder: pathlib.Path) -> None:
    """Loads only the libraries."""
    import jax

    from tokenhmr_jax import convert  # noqa: F401

    jax.devices()


STEPS = {step.__name__: step for step in (write, nothing, convert, load, save, load_trained)}


class Peak(threading.Thread):
    """Peak memory of this process without files mapped into it, gigabytes."""

    def __init__(self):
        super().__init__(daemon=True)
        self.value = 0.0

    def run(self):
        while True:
            status = pathlib.Path('/proc/self/status').read_text()
            own = next(line for line in status.splitlines() if line.startswith('RssAnon'))
            self.value = max(self.value, int(own.split()[1]) * 1024 / 1e9)
            time.sleep(0.002)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--dir', required=True, type=pathlib.Path, help='folder to work in')
    parser.add_argument('--step', choices=STEPS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        peak = Peak()
        peak.start()
        found = STEPS[arguments.step](arguments.dir) or {}
        print(json.dumps(found | {'peak': peak.value}))
        return
    arguments.dir.mkdir(parents=True, exist_ok=True)
    results = {}
    for step in STEPS:
        command = [sys.executable, __file__, f'--dir={arguments.dir}', f'--step={step}']
        start = time.perf_counter()
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        results[step] = json.loads(done.stdout.splitlines()[-1])
        results[step]['seconds'] = time.perf_counter() - start
    size, libraries = results['write']['gigabytes'], results['nothing']['peak']
    print(f'parameters: {size:.2f} GB; libraries alone: {libraries:.2f} GB')
    for step in ('convert', 'load', 'load_trained'):
        peak, seconds = results[step]['peak'], results[step]['seconds']
        print(
            f'{step}: peak {peak:.2f} GB, {peak / size:.2f} times the parameters '
            f'({(peak - libraries) / size:.2f} without the libraries), {seconds:.0f} s'
        )


if __name__ == '__main__':
    main()
