"""Shared by all commands: flags, one way to run, errors of one line, files written whole.

def main(arguments=None):
    flags = cli.Flags(__doc__, arguments)
    checkpoint = flags.string('checkpoint', None, "A run's workdir.", required=True)
    cli.run(flags, lambda: evaluate(checkpoint.value))
"""

import contextlib
import ctypes
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence

from absl import flags as absl_flags
from absl import logging
from etils import epath
from ml_collections import config_flags

from tokenhmr_jax.config import missing_settings_named

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
# JAX's own variable goes before.
COMPILED = os.environ.get(
    'JAX_COMPILATION_CACHE_DIR', os.path.expanduser('~/.cache/tokenhmr_jax/compiled')
)
# What a user can mend. Anything else is a fault of the program, and shows its traceback.
_MENDABLE = (ValueError, OSError, FloatingPointError, ImportError)


class Flags:
    """The flags of one command, apart from those of all others.

    Each method defines a flag and returns its holder, whose `value` is there once flags are parsed.

    Args:
      doc: the command's docstring, for `--help`.
      arguments: of the command line; the process's own by default.
      operands: what the arguments that are no flags must be, such as 'RESULT', or 'WORKDIR ...' for
        one or more; '' for none. They are `operands` once flags are parsed.
    """

    def __init__(self, doc: str, arguments: Sequence[str] | None = None, operands: str = ''):
        self.doc, self._expected = doc, operands
        self.arguments = sys.argv[1:] if arguments is None else [str(each) for each in arguments]
        self.values = absl_flags.FlagValues()
        self.operands: list[str] = []
        self.rest: list[str] = []

    def string(self, name, default, text, **options):
        return absl_flags.DEFINE_string(name, default, text, self.values, **options)

    def strings(self, name, default, text, **options):
        """A flag that may be given several times."""
        return absl_flags.DEFINE_multi_string(name, default, text, self.values, **options)

    def words(self, name, default, text, **options):
        """A flag of several words, with commas between them."""
        return absl_flags.DEFINE_list(name, default, text, self.values, **options)

    def choice(self, name, default, choices, text, **options):
        return absl_flags.DEFINE_enum(name, default, choices, text, self.values, **options)

    def integer(self, name, default, text, **options):
        return absl_flags.DEFINE_integer(name, default, text, flag_values=self.values, **options)

    def number(self, name, default, text, **options):
        return absl_flags.DEFINE_float(name, default, text, flag_values=self.values, **options)

    def boolean(self, name, default, text, **options):
        return absl_flags.DEFINE_bool(name, default, text, self.values, **options)

    def config(self, required: bool = True):
        """`--config`, a config file whose settings are flags `--config.SETTING`."""
        holder = config_flags.DEFINE_config_file(
            'config',
            help_string='FILE.py, or FILE.py:variant=NAME; --config.SETTING=VALUE changes it.',
            flag_values=self.values,
            lock_config=True,
            sys_argv=['', *self.arguments],
        )
        if required:
            absl_flags.mark_flag_as_required('config', self.values)
        return holder

    def parse(self, known_only: bool = False) -> None:
        """Parses the arguments.

        Args:
          known_only: whether unknown flags are left in `rest`, for another command.

        Raises:
          ValueError: for an unknown flag or argument, or a value that does not fit.
        """
        try:
            rest = self.values(['', *self.arguments], known_only)[1:]
            if 'config' in self.values and self.values['config'].value is not None:
                self.values['config'].value.to_dict()  # raises for a file that could not be read
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
        self.operands = rest

    def describe(self) -> str:
        """What `--help` prints."""
        lines = [self.doc.strip(), '', 'flags:']
        for name in sorted(self.values):
            flag = self.values[name]
            default = '' if flag.default in (None, '') else f' Default: {flag.default_as_str}.'
            lines.append(f'  --{name}: {flag.help}{default}')
        return '\n'.join(lines)


def _one_line(error: Exception) -> str:
    """The message of an error, also where it carries another one, or a traceback as text."""
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


def run(
    flags: Flags,
    command: Callable[[], int | None],
    on_interrupt: str = 'interrupted',
    others: bool = False,
) -> None:
    """Parses the flags and runs a command.

    A user's mistake ends the process with one line and exit code 1, Ctrl-C with 130. An unknown
    flag or argument is a mistake. `--help` prints the docstring and the flags.

    Args:
      flags: of the command.
      command: called without arguments; returns an exit code, None for 0.
      on_interrupt: what to say after Ctrl-C, such as how to go on.
      others: whether unknown flags are left in `flags.rest`, for another command.
    """
    if {'--help', '-h', '-help', '--helpfull', '--helpshort'} & set(flags.arguments):
        print(flags.describe())
        return
    _quiet_logs()
    try:
        flags.parse(known_only=others)
        with missing_settings_named('the config'):
            code = command()
    except KeyboardInterrupt:
        print(f'\n{on_interrupt}', file=sys.stderr)
        code = EXIT_INTERRUPTED
    except _MENDABLE as error:
        sys.exit(f'error: {error}')
    if code:
        sys.exit(code)


def _quiet_logs() -> None:
    """Only warnings: Orbax and TFDS report every file they touch."""
    logging.set_verbosity(logging.WARNING)
    logging.use_absl_handler()
    # Orbax misses metrics in every checkpoint between evaluations.
    logging.get_absl_handler().addFilter(lambda record: 'tracked_metric' not in record.getMessage())


def keep_compiled(folder: str = COMPILED) -> None:
    """Keeps compiled programs in a folder: a command run again starts sooner. '' for none."""
    import jax  # not every command needs it

    jax.config.update('jax_compilation_cache_dir', folder or None)


@contextlib.contextmanager
def large_arrays_given_back() -> Iterator[None]:
    """Lets the C library return the memory of large arrays at once, while a network is read.

    By itself, glibc soon keeps arrays of up to 32 MB in heaps of 64 MB, which few of them fill: up
    to half as much memory again as a network of hundreds of arrays needs.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None) if sys.platform == 'linux' else None
    if mallopt is None:
        yield
        return
    trim_threshold, mmap_threshold, megabyte = -1, -3, 2**20
    mallopt(mmap_threshold, megabyte)
    try:
        yield
    finally:
        # The end of glibc's own adaptation, which does not go on once a threshold was set.
        mallopt(mmap_threshold, 32 * megabyte)
        mallopt(trim_threshold, 64 * megabyte)


@contextlib.contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[epath.Path]:
    """A path to write to, beside `path`, renamed to it when all is written; removed on an error."""
    target = epath.Path(path)
    partial = target.with_name(f'.{target.stem}.partial{target.suffix}')
    try:
        yield partial
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def whole_folder(path: str) -> Iterator[str]:
    """A folder that gets its name when all is written, and vanishes on an error."""
    target = pathlib.Path(path).absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{target.name}.', dir=target.parent) as parent:
        partial = pathlib.Path(parent) / target.name
        partial.mkdir()
        yield str(partial)
        os.rename(partial, target)
