"""Every command of an installed package, in an empty folder outside any checkout.

PYTHON tests/smoke.py [quick | extras]

`quick` runs three commands, `extras` those that need the extras hub, photos and report; without a
word all others run. `make test-wheel`, `test-newest` and `test-oldest` run it with environments of
their own. Data alone are prepared by the checkout's builders, which are no part of the package.
"""

import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile

DATASETS = pathlib.Path(__file__).absolute().parents[1] / 'datasets'
# A standing person's keypoints in COCO's order, pixels of a picture of 640 x 480.
X = [320, 326, 314, 332, 308, 355, 285, 370, 270, 375, 265, 342, 298, 345, 295, 347, 293]
Y = [80, 74, 74, 78, 78, 120, 120, 175, 175, 225, 225, 230, 230, 315, 315, 395, 395]
# A training that takes seconds.
TINY = {
    'num_steps': 4, 'batch_size': 16, 'log_every': 2, 'checkpoint_every': 4, 'model.width': 16,
    'model.code_dim': 8, 'model.size_mul': 1, 'codebook.num_codes': 32, 'eval.every': 4,
    'eval.batch_size': 64, 'eval.limit': 64, 'eval.baseline_poses': 100, 'data.num_workers': 0,
    'data.data_dir': 'data',
}  # fmt: skip
SETTINGS = ['--config=tokenizer:quickstart', *(f'--config.{k}={v}' for k, v in TINY.items())]


def run(folder: pathlib.Path, *arguments: str, expect: int = 0, says: str = '') -> None:
    """Runs Python as a user does; raises AssertionError for another exit code or other words."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    words = ' '.join(arguments)
    assert done.returncode == expect and says in done.stdout, f'{words}\n{done.stdout}'
    assert expect == 0 or 'Traceback' not in done.stdout, f'{words}\n{done.stdout}'
    print('ok', words[:110], flush=True)


def command(folder: pathlib.Path, name: str, *arguments: str, **expected) -> None:
    """Runs a command of the package."""
    run(folder, '-m', f'tokenhmr_jax.{name}', *arguments, **expected)


def helps() -> None:
    """Prints the help of each command, with all of its modules imported."""
    import tokenhmr_jax
    from tokenhmr_jax.__main__ import COMMANDS, studies

    for name in (*COMMANDS, *studies()):
        importlib.import_module(f'tokenhmr_jax.{name}').main(['--help'])
    print('from', tokenhmr_jax.__file__)


def quick(folder: pathlib.Path) -> None:
    """Predicts with the bundled network, and trains a tokenizer."""
    predicted(folder)
    trained(folder)


def predicted(folder: pathlib.Path) -> None:
    """The result of a picture with keypoints, and its page."""
    draw = f"""
import cv2, json, numpy
cv2.imwrite('a.png', numpy.full((480, 640, 3), 90, 'uint8'))
points = numpy.stack([{X}, {Y}, numpy.ones(17)], 1).ravel().tolist()
person = dict(image_id='a.png', category_id=1, keypoints=points, score=1)
json.dump([person], open('a.json', 'w'))
"""
    run(folder, '-c', draw)
    command(folder, 'predict', '--input=a.png', '--keypoints=a.json', '--out=result')
    command(folder, 'view', 'result', '--nobrowser')
    assert (folder / 'result/view.html').exists()
    assert json.loads((folder / 'result/result.json').read_text())['persons'] == 1


def trained(folder: pathlib.Path) -> None:
    """A tokenizer, `run`, and its `data`."""
    builder = str(DATASETS / 'amass/amass_dataset_builder.py')
    run(folder, builder, '--data_dir=data', '--num_procedural=300')
    command(folder, 'train', *SETTINGS, '--workdir=run')


def others(folder: pathlib.Path) -> None:
    """Runs the other commands, on the results of `quick`."""
    run(folder, '-m', 'tokenhmr_jax', says='predict')
    run(folder, __file__, 'helps', says=f'from {sys.prefix}')
    train = 'next: python -m tokenhmr_jax.train --config=tokenizer:quickstart'
    command(folder, 'plan', *SETTINGS, '--topology=cpu:1', '--nosearch', says=train)
    command(folder, 'evaluate', '--checkpoint=run')
    command(folder, 'pack', '--checkpoint=run', '--out=packed')
    builder = str(DATASETS / 'mannequin/mannequin_dataset_builder.py')
    run(folder, builder, '--data_dir=data', '--num_train=2', '--num_pseudo=0', '--num_heldout=1')
    config = '--config=regressor:quickstart'
    command(folder, 'preview', config, '--config.data.data_dir=data', '--num=2')
    refit = '--data_dir=data', '--split=mannequin/suit', '--checkpoint=bundled'
    command(folder, 'refit', *refit, says='next: name them in config.data.mixture')
    command(folder, 'check', '--dir=.')
    program = '--checkpoint=bundled', '--out=program'
    command(folder, 'studies.stablehlo', *program, expect=1, says='expected a network that reads')
    command(folder, 'studies.evaluation_crops', '--out=crops.png', '--crop_size=64')
    lifting = '--data_dir=data', '--split=amass/procedural_heldout', '--limit=16'
    command(folder, 'studies.lifting', *lifting)
    lacking(folder)


def lacking(folder: pathlib.Path) -> None:
    """Commands that need an extra name it, unless what it brings is there."""
    (folder / 'a.ckpt').touch()
    convert = '--source=a.ckpt', '--config=tokenizer', '--workdir=c'
    export = '--checkpoint=run', '--out=e'
    for module, extra, *words in (
        ('pandas', 'report', 'report', 'run'),
        ('ai_edge_litert', 'photos', 'demo'),
        ('safetensors', 'hub', 'export', *export, '--format=safetensors'),
        ('torch', 'convert', 'export', *export),
        ('torch', 'convert', 'convert', *convert),
    ):
        if not importlib.util.find_spec(module):
            command(folder, *words, expect=1, says=f'tokenhmr_jax[{extra}]')


def extras(folder: pathlib.Path) -> None:
    """Runs the commands that need extras, on the run of `trained`."""
    command(folder, 'export', '--checkpoint=run', '--out=shared', '--format=safetensors')
    back = '--source=shared/model.safetensors', '--workdir=back'
    command(folder, 'convert', *back, says='evaluate --checkpoint=back')
    command(folder, 'evaluate', '--checkpoint=back')
    command(folder, 'report', 'run', says='plot: run/report/curves.png')
    command(folder, 'studies.camera_curve', '--out=curve.png', '--num=2')
    command(folder, 'demo', '--out=demo', says='wrote demo; next: open file://')
    assert json.loads((folder / 'demo/result/result.json').read_text())['persons'] >= 1


PARTS = {'': (quick, others), 'quick': (quick,), 'extras': (trained, extras)}

if __name__ == '__main__':
    if sys.argv[1:] == ['helps']:
        helps()
    else:
        with tempfile.TemporaryDirectory() as parent:
            for part in PARTS[' '.join(sys.argv[1:])]:
                part(pathlib.Path(parent))
