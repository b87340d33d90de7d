"""Configs: arguments of config files, plain containers, and what each setting decides."""

import contextlib
import enum
import importlib.util
import json
import pathlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from types import ModuleType
from typing import Any

import ml_collections
from flax import traverse_util


class Decides(enum.Flag):
    """The part of a run that a setting decides."""

    RESULT = enum.auto()  # its outcome
    COST = enum.auto()  # its speed and memory, not its outcome
    ARCHITECTURE = enum.auto()  # the network's arrays, or their use
    UNSEEN = enum.auto()  # the use of the network's arrays, which their shapes do not tell
    OPTIMIZER = enum.auto()  # further arrays of the optimizer, if the setting is set


# By dotted name of the setting, or of the nearest group around it. All others: RESULT.
DECIDES = {
    'task': Decides.ARCHITECTURE,
    'model': Decides.ARCHITECTURE,
    'model.head': Decides.ARCHITECTURE | Decides.UNSEEN,
    'model.rotation_6d': Decides.ARCHITECTURE | Decides.UNSEEN,
    'model.dtype': Decides.RESULT,
    'model.heads': Decides.ARCHITECTURE | Decides.UNSEEN,
    'model.body_mean': Decides.RESULT,
    'model.backbone.heads': Decides.ARCHITECTURE | Decides.UNSEEN,
    'model.backbone.position_scale': Decides.RESULT,
    'model.backbone.drop_path': Decides.RESULT,
    'model.backbone.drop_mode': Decides.RESULT,
    'model.backbone.remat': Decides.COST,
    'model.backbone.scan': Decides.ARCHITECTURE | Decides.COST,  # blocks stacked or apart
    'model.backbone.dtype': Decides.RESULT,
    'model.decoder.heads': Decides.ARCHITECTURE | Decides.UNSEEN,
    'model.decoder.dtype': Decides.RESULT,
    'model.mixer.dtype': Decides.RESULT,
    'model.prompts.heads': Decides.ARCHITECTURE | Decides.UNSEEN,
    'model.prompts.dtype': Decides.RESULT,
    'codebook.num_codes': Decides.ARCHITECTURE,
    'tokenizer.model': Decides.ARCHITECTURE,
    'tokenizer.model.dilation_rate': Decides.ARCHITECTURE | Decides.UNSEEN,
    'tokenizer.model.dtype': Decides.RESULT,
    'tokenizer.model.heads': Decides.ARCHITECTURE | Decides.UNSEEN,
    'tokenizer.model.levels': Decides.ARCHITECTURE | Decides.UNSEEN,
    'tokenizer.num_codes': Decides.ARCHITECTURE,
    'optimizer.clip_norm': Decides.OPTIMIZER,
    'optimizer.muon_learning_rate': Decides.OPTIMIZER,
    'accumulation_steps': Decides.COST,
    'mesh': Decides.COST,
    'log_every': Decides.COST,
    'checkpoint_every': Decides.COST,
    'data.data_dir': Decides.COST,
    'data.num_threads': Decides.COST,
    'data.num_workers': Decides.COST,
    'eval.batch_size': Decides.COST,
}
# Settings of older checkpoints that nothing reads any more.
_REMOVED = ('adversarial', 'model.backbone.drop_groups')
# Settings that older checkpoints lack, all and those of a task, with the values that they were
# trained by.
_ADDED = {'data': {'num_workers': None}}
_PUBLISHED_TOKENIZER = {'network': 'conv', 'heads': 8, 'levels': []}
_ADDED_TO_TASK = {
    'tokenizer': {'model': _PUBLISHED_TOKENIZER, 'noise_degrees': 0.0},
    'regressor': {
        'model': {
            'inputs': ['image'],
            'prompts': {
                'width': 256,
                'depth': 4,
                'heads': 8,
                'mlp_dim': 1024,
                'dtype': 'bfloat16',
                'lifter_width': 1024,
                'lifter_blocks': 2,
                'capacity': 26,
            },
        },
        'tokenizer': {'model': _PUBLISHED_TOKENIZER},
        'camera': {'projection': 'crop'},
        'people': {'batch_size': 0, 'labelled': 1.0},
        'loss_weights': {'tokens': 0.0},
        'pose_tokens': {'straight_through': False, 'gumbel': 0.0, 'label_smoothing': 0.0},
        'data': {'augment': {'extreme_crop_needs': 'part'}},
        'eval': {'inputs': ['image', 'prompts'], 'truth': 'published'},
    },
}


def parse_arg(arg: str | None, **defaults: str) -> dict[str, str]:
    """Parses the argument 'name=value,name=value' of a config file, given all names' defaults.

    A value alone, in the first place, is that of the first name: 'quickstart,quantizer=fsq'.
    Raises ValueError for another name, or no `name=value` elsewhere.
    """
    parsed = dict(defaults)
    for i, part in enumerate(filter(None, (arg or '').split(','))):
        name, equals, value = part.partition('=')
        if i == 0 and not equals:
            name, equals, value = next(iter(defaults)), '=', part
        if not equals or name not in defaults:
            raise ValueError(f'config argument {part!r}: expected name=value with {list(defaults)}')
        parsed[name] = value
    return parsed


def choose_variant(
    arg: str | None, *variants: Callable[[], ml_collections.ConfigDict]
) -> ml_collections.ConfigDict:
    """The config of 'variant=NAME', made by the function of that name; the first one by default.

    Raises ValueError for another argument or another name.
    """
    functions = {each.__name__: each for each in variants}
    variant = parse_arg(arg, variant=next(iter(functions)))['variant']
    if variant not in functions:
        raise ValueError(f'variant={variant!r}: expected one of {list(functions)}')
    return functions[variant]()


def config_path(text: str) -> str:
    """The file of a config by its name, 'regressor' or 'regressor:paper'; a path as it is.

    Raises ValueError for a name that is no config's.
    """
    name, colon, arg = text.partition(':')
    if not re.fullmatch(r'\w+', name):
        return text
    here = pathlib.Path(__file__).parent
    # In a checkout they stand beside the package.
    folder = next(each for each in (here / 'configs', here.parent / 'configs') if each.is_dir())
    files = {path.stem: path for path in folder.glob('*.py') if 'get_config(' in path.read_text()}
    if name not in files:
        raise ValueError(f'config {name!r}: expected a path, FILE.py, or one of {sorted(files)}')
    return f'{files[name]}{colon}{arg}'


def import_beside(file: str, name: str) -> ModuleType:
    """The module `name` in the folder of a config file, whatever the working directory is."""
    spec = importlib.util.spec_from_file_location(name, pathlib.Path(file).with_name(f'{name}.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def config_to_json(config: ml_collections.ConfigDict) -> dict:
    """The config as plain containers, equal to what `config_from_json` reads back."""
    return json.loads(config.to_json())


def config_from_json(tree: dict) -> ml_collections.ConfigDict:
    """A config from plain containers."""
    return ml_collections.ConfigDict(tree, convert_dict=True)


def settings_of_today(tree: dict) -> dict:
    """A stored config, plain containers, without removed settings and with those added since."""
    removed = [tuple(name.split('.')) for name in _REMOVED]
    flat = traverse_util.flatten_dict(tree, keep_empty_nodes=True)  # datasets may have dots
    kept = {path: v for path, v in flat.items() if all(path[: len(r)] != r for r in removed)}
    added = traverse_util.flatten_dict(_ADDED)
    added |= traverse_util.flatten_dict(_ADDED_TO_TASK.get(tree.get('task'), {}))
    return traverse_util.unflatten_dict(added | kept)


def settings_deciding(tree: dict, what: Decides) -> dict[str, Any]:
    """Settings of a config, plain containers, that decide something, by dotted name."""
    return {name: value for name, value in _flat(tree).items() if _decides(name) & what}


def settings_of_result(tree: dict) -> dict[str, Any]:
    """All settings but those of cost, by dotted name. Runs that agree in them are the same run."""
    return {name: v for name, v in _flat(tree).items() if not _decides(name) & Decides.COST}


def _flat(tree: dict) -> dict[str, Any]:
    flat = traverse_util.flatten_dict(tree, sep='.', keep_empty_nodes=True)
    return {name: {} if v is traverse_util.empty_node else v for name, v in flat.items()}


def _decides(name: str) -> Decides:
    while name:
        if name in DECIDES:
            return DECIDES[name]
        name = name.rpartition('.')[0]
    return Decides.RESULT


def lookup_setting(tree: Any, name: str) -> Any:
    """The value under a dotted name; None if there is none."""
    for part in name.split('.'):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def check_choice(config: ml_collections.ConfigDict, name: str, choices: Collection[str]) -> None:
    """Raises ValueError unless a setting, by its dotted name, has one of some values."""
    value = lookup_setting(config.to_dict(), name)
    if value not in choices:
        raise ValueError(f'{name}={value!r}: expected one of {list(choices)}')


@contextlib.contextmanager
def missing_settings_named(where: str) -> Iterator[None]:
    """Raises ValueError for a missing setting; `where` names the config."""
    try:
        yield
    except AttributeError as error:
        missing = error.args[0] if error.args else None
        if not isinstance(missing, KeyError):  # as a ConfigDict raises it
            raise
        name = missing.args[0].splitlines()[0]  # a guess at the right name may follow
        raise ValueError(
            f'{where} has no setting {name}, which this version reads: expected it as in configs/. '
            "A checkpoint's settings are the JSON file config/metadata of its step; if you change "
            'it, remove checksums.json there'
        ) from error


def config_differences(a: dict, b: dict, prefix: str = '') -> list[str]:
    """Differences of two configs, plain containers: 'NAME (OLD -> NEW)'."""
    found = []
    for key in sorted(a.keys() | b.keys()):
        ours, theirs = a.get(key), b.get(key)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            found += config_differences(ours, theirs, f'{prefix}{key}.')
        elif ours != theirs:
            found.append(f'{prefix}{key} ({ours} -> {theirs})')
    return found
