"""Flags of a command, its config and its operands."""

import functools
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence

import ml_collections
from absl import flags as absl_flags
from ml_collections import config_flags

from tokenhmr_jax.config import config_path


class Flags:
    """The flags of one command.

    `string` and so on define a flag and return its holder, with a `value` once flags are parsed.
    In a `path`, in a config's settings and in operands a leading ~ is the home folder.
    `doc` is the command's docstring, for `--help`; `arguments` are the process's own by default.
    `operands` names the arguments beside the flags, such as 'RESULT', or 'WORKDIR ...' for several.
    """

    def __init__(self, doc: str, arguments: Sequence[str] | None = None, operands: str = ''):
        self.doc, self._expected = doc, operands
        given = sys.argv[1:] if arguments is None else arguments
        self.arguments = [str(each) for each in given]
        self.values = absl_flags.FlagValues()
        self.operands: list[str] = []
        self.rest: list[str] = []

        def define(kind: Callable) -> Callable:
            return functools.partial(kind, flag_values=self.values)

        self.path = define(_define_path)
        self.paths = define(_define_paths)  # may be given several times
        self.string = define(absl_flags.DEFINE_string)
        self.strings = define(absl_flags.DEFINE_multi_string)  # may be given several times
        self.words = define(absl_flags.DEFINE_list)  # with commas between them
        self.choice = define(absl_flags.DEFINE_enum)
        self.integer = define(absl_flags.DEFINE_integer)
        self.number = define(absl_flags.DEFINE_float)
        self.boolean = define(absl_flags.DEFINE_bool)
        self.as_json = self.boolean(
            'json', False, 'End with a JSON object on standard output, the rest on standard error.'
        )

    def config(self, required: bool = True):
        """`--config`, a config file whose settings are flags `--config.SETTING`."""
        holder = config_flags.DEFINE_config_file(
            'config',
            help_string='tokenizer, regressor or a FILE.py; with a variant regressor:NAME. '
            '--config.SETTING=VALUE changes it.',
            flag_values=self.values,
            lock_config=True,
            sys_argv=['', *self.arguments],
        )
        if required:
            absl_flags.mark_flag_as_required('config', self.values)
        return holder

    def config_arguments(self) -> list[str]:
        """The arguments that give the config, as another command takes them."""
        given = zip(['', *self.arguments], self.arguments, strict=False)
        flag = re.compile('--?config')
        value_of = lambda before: flag.match(before) and '=' not in before  # noqa: E731
        return [each for before, each in given if flag.match(each) or value_of(before)]

    def parse(self, known_only: bool = False) -> None:
        """Parses the arguments; `known_only` leaves unknown flags in `rest`, for another command.

        Raises ValueError for an unknown flag or argument, or a value that does not fit.
        """
        try:
            rest = self.values(['', *_with_config_paths(self.arguments)], known_only)[1:]
            if 'config' in self.values and self.values['config'].value is not None:
                self.values['config'].value.to_dict()  # raises for a file that could not be read
                _expand_settings(self.values['config'].value)
        except Exception as error:  # config files are code, and fail in any way
            raise ValueError(f'{_one_line(error)} (--help lists the flags)') from error
        if known_only:
            self.rest = rest
            return
        most = len(rest) if self._expected.endswith('...') else 1
        if not self._expected and rest:
            raise ValueError(f'unknown arguments {rest} (--help lists the flags)')
        if self._expected and not 1 <= len(rest) <= most:
            raise ValueError(f'arguments {rest}: expected {self._expected}')
        self.operands = [os.path.expanduser(path) for path in rest]

    def describe(self) -> str:
        """The text of `--help`."""
        lines = [self.doc.strip(), '', 'flags:']
        for name in sorted(self.values):
            flag = self.values[name]
            default = '' if flag.default in (None, '') else f' Default: {flag.default_as_str}.'
            lines.append(f'  --{name}: {flag.help}{default}')
        return '\n'.join(lines)


class _Path(absl_flags.ArgumentParser):
    """A path, a URL or a word; a leading ~ is the home folder."""

    def parse(self, argument: str) -> str:
        return os.path.expanduser(argument)

    def flag_type(self) -> str:
        return 'path'


def _define_path(name, default, help, **options):
    return absl_flags.DEFINE(_Path(), name, default, help, **options)


def _define_paths(name, default, help, **options):
    return absl_flags.DEFINE_multi(
        _Path(), absl_flags.ArgumentSerializer(), name, default, help, **options
    )


def _with_config_paths(arguments: Sequence[str]) -> Iterator[str]:
    """The arguments, with the path of the config file after `--config`."""
    for before, each in zip(['', *arguments], arguments, strict=False):
        flag = re.match('--?config=', each)
        name = each[flag.end() :] if flag else each
        if flag or before in ('--config', '-config'):
            yield (flag[0] if flag else '') + config_path(os.path.expanduser(name))
        else:
            yield each


def _expand_settings(config: ml_collections.ConfigDict) -> None:
    """Makes a leading ~ of the settings the home folder."""
    for name, value in config.items():
        if isinstance(value, ml_collections.ConfigDict):
            _expand_settings(value)
        elif isinstance(value, str) and value.startswith('~'):
            config[name] = os.path.expanduser(value)


def _one_line(error: Exception) -> str:
    """The message of an error, or of the error or traceback that it carries."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    lines = str(error.args[0] if error.args else error).strip().splitlines()
    if any('Traceback' in line or 'Failed loading' in line for line in lines):
        lines = [re.sub(r'^(ValueError|FileNotFoundError): ', '', lines[-1].strip())]
    text = re.sub(r'^flag (--\w+)=None: .*', r'\1 is missing', ' '.join(lines))
    if isinstance(error, (AttributeError, KeyError)):
        return f'no such setting: {text}'
    known = isinstance(error, (ValueError, OSError, absl_flags.Error, TypeError))
    return text if known else f'{type(error).__name__}: {error}'
