"""Shared by all commands: flags, one way to run, errors, progress, files written whole.

def main(arguments=None):
    flags = cli.Flags(__doc__, arguments)
    checkpoint = flags.path('checkpoint', None, "A run's workdir.", required=True)
    cli.run(flags, lambda: evaluate(checkpoint.value))
"""

import collections
import contextlib
import functools
import os
import pathlib
import re
import secrets
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import ml_collections
from absl import flags as absl_flags
from absl import logging
from etils import epath
from ml_collections import config_flags
from tqdm import tqdm

from tokenhmr_jax.config import config_path, missing_settings_named

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
# JAX's own variable comes first.
COMPILED = os.path.expanduser(
    os.environ.get('JAX_COMPILATION_CACHE_DIR', '~/.cache/tokenhmr_jax/compiled')
)
_LINE_SECONDS = 10.0  # between two lines of progress
_RATE_LINES = 7  # over which the rate is measured
# Errors that a user can mend. All others are faults of the program, with their traceback.
_MENDABLE = (ValueError, OSError, FloatingPointError, ImportError)


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


def run(
    flags: Flags, command: Callable, on_interrupt: str = 'interrupted', others: bool = False
) -> None:
    """Parses the flags and runs a command, which may return an exit code.

    A user's mistake, such as an unknown flag, ends the process with one line and exit code 1;
    Ctrl-C with 130 and the line `on_interrupt`. `--help` prints the docstring and the flags.
    `others` leaves unknown flags in `flags.rest`, for another command.
    """
    if {'--help', '-h', '-help', '--helpfull', '--helpshort'} & set(flags.arguments):
        print(flags.describe())
        return
    _quiet_logs()
    try:
        flags.parse(known_only=others)
        with _interruptible(), missing_settings_named('the config'):
            code = command()
    except KeyboardInterrupt:
        print(f'\n{on_interrupt}', file=sys.stderr)
        code = EXIT_INTERRUPTED
    except _MENDABLE as error:
        sys.exit('\n'.join(map(one_line, f'error: {_in_words(error)}'.split('\n'))))
    if code:
        sys.exit(code)


def _in_words(error: BaseException) -> str:
    """An error's text; of the system's errors without their number."""
    if isinstance(error, OSError) and error.strerror:
        names = (os.fsdecode(name) for name in (error.filename, error.filename2) if name)
        return ': '.join([*names, error.strerror])
    return str(error)


def one_line(text: object) -> str:
    """A text in one line that every terminal prints: names of files may hold any character."""
    return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def counted(count: int, noun: str, plural: str = '') -> str:
    """For example '1 frame', '2 frames'."""
    return f'{count} {noun if count == 1 else plural or noun + "s"}'


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Lets Ctrl-C raise KeyboardInterrupt, unless whoever started the process ignores it."""
    before, hook = signal.getsignal(signal.SIGINT), sys.unraisablehook
    if before not in (signal.default_int_handler, signal.SIG_DFL):
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.unraisablehook = functools.partial(_interrupt_again, hook)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGINT, before)


def _interrupt_again(hook: Callable, lost: Any) -> None:
    """Repeats a Ctrl-C that came in a finalizer or a collection of garbage, which swallow it."""
    if lost.exc_type is not KeyboardInterrupt:
        hook(lost)
        return
    main = threading.main_thread().ident
    threading.Timer(0.1, signal.pthread_kill, [main, signal.SIGINT]).start()


def _quiet_logs() -> None:
    """Shows only warnings: Orbax and TFDS report every file they touch."""
    logging.set_verbosity(logging.WARNING)
    logging.use_absl_handler()
    warnings.filterwarnings('ignore', module=r'PIL\.')  # what matters of a picture is said
    # Orbax misses metrics in every checkpoint between evaluations.
    logging.get_absl_handler().addFilter(lambda record: 'tracked_metric' not in record.getMessage())


@contextlib.contextmanager
def hidden_notes() -> Iterator[None]:
    """Hides what libraries write to standard error past Python; it is shown if an error follows."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        except BaseException:
            notes.seek(0)
            os.write(terminal, notes.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


class Progress:
    """Progress on standard error: a bar on a terminal, elsewhere a plain line every ten seconds.

    Args:
      what: the work, such as 'predicting'.
      unit: what is counted, in the singular.
      total: how many there are, if that is known or estimated.
      start: how many were done before.
      shown: False to show nothing.
    """

    def __init__(
        self, what: str, unit: str, total: int | None = None, start: int = 0, shown: bool = True
    ):
        terminal = shown and sys.stderr.isatty()
        self._bar = tqdm(
            desc=what, unit=f' {unit}s', total=total, initial=start, dynamic_ncols=True,
            disable=not terminal,
        )  # fmt: skip
        self._what, self._unit, self._lines = what, unit, shown and not terminal
        self.shown, self.done, self.total, self._note = shown, start, total, ''
        self._first = (time.monotonic(), start)
        self._recent = collections.deque([self._first], _RATE_LINES)

    def __enter__(self) -> 'Progress':
        return self

    def __exit__(self, kind: type[BaseException] | None, *unused) -> None:
        if kind is None:  # all is done, if it is less than was expected, too
            self._bar.total = self.total = self.done
        self.close()

    def close(self) -> None:
        """Ends the bar, or prints the last line."""
        self._bar.close()
        if self._lines:
            since, start = self._first
            seconds = tqdm.format_interval(time.monotonic() - since)
            self._print(f'{self._count()} in {seconds}' if self.done > start else self._count())

    def over(self, items: Iterable[Any]) -> Iterator[Any]:
        """The same items, each counted once the next one is asked for."""
        for item in items:
            yield item
            self.update()

    def update(self, count: int = 1) -> None:
        """Counts some more."""
        self.set(self.done + count)

    def set(self, done: int, total: int | None = None) -> None:
        """Sets the count, and the total if it has changed."""
        self._bar.total = self.total = total or self.total
        self._bar.update(done - self.done)
        self.done, now = done, time.monotonic()
        ended = done == self.total  # then `close` prints the last line
        if self._lines and not ended and now - self._recent[-1][0] >= _LINE_SECONDS:
            self._print(self._count() + self._speed(now))
            self._recent.append((now, done))

    def note(self, text: str) -> None:
        """Shows a remark behind the count from now on."""
        self._note = text
        self._bar.set_postfix_str(text, refresh=False)

    def say(self, text: str) -> None:
        """Prints a line to standard output, clear of the bar."""
        if not self._bar.disable:
            self._bar.write(text)
        elif self.shown:
            print(text, flush=True)

    def _count(self) -> str:
        of = f'/{self.total}' if self.total else ''
        return f'{self.done}{of} {self._unit}{"" if (self.total or self.done) == 1 else "s"}'

    def _speed(self, now: float) -> str:
        then, before = self._recent[0]
        rate = (self.done - before) / max(now - then, 1e-9)
        if rate <= 0:
            return ''
        words = f', {rate:.3g} {self._unit}s/s' if rate >= 1 else f', {1 / rate:.3g} s/{self._unit}'
        if self.total and self.total >= self.done:
            words += f', {tqdm.format_interval((self.total - self.done) / rate)} left'
        return words

    def _print(self, text: str) -> None:
        note = f', {self._note}' if self._note else ''
        print(f'{self._what}: {text}{note}', file=sys.stderr, flush=True)


def keep_compiled(folder: str = COMPILED) -> None:
    """Keeps compiled programs in a folder: a command run again starts sooner. '' for none."""
    import jax  # not every command needs it

    jax.config.update('jax_compilation_cache_dir', folder or None)


@contextlib.contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[epath.Path]:
    """A path to write to, beside `path`, renamed to it when all is written; removed on an error."""
    target = epath.Path(path)
    # A name of its own: on a cluster, two workers may write the same file at once.
    # Names have at most 255 bytes.
    stem = os.fsencode(target.stem)[:200].decode('utf-8', 'ignore')
    partial = target.with_name(f'.{stem}.{secrets.token_hex(4)}.partial{target.suffix}')
    try:
        yield partial
        partial.replace(target)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if type(error) is OSError and error.errno and error.filename is None:
            error.filename = str(target)  # a full disk has no name
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
