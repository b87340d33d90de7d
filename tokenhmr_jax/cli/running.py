"""One way to run a command: errors in one line, Ctrl-C, logs, and what was done."""

import contextlib
import functools
import os
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from absl import logging

from tokenhmr_jax.cli.done import Done, prints_aside
from tokenhmr_jax.cli.flags import Flags
from tokenhmr_jax.cli.words import one_line
from tokenhmr_jax.config import missing_settings_named

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
# JAX's own variable comes first.
COMPILED = os.path.expanduser(
    os.environ.get('JAX_COMPILATION_CACHE_DIR', '~/.cache/tokenhmr_jax/compiled')
)
# Errors that a user can mend. All others are faults of the program, with their traceback.
_MENDABLE = (ValueError, OSError, FloatingPointError, ImportError)


def run(
    flags: Flags, command: Callable, on_interrupt: str = 'interrupted', others: bool = False
) -> None:
    """Parses the flags and runs a command, which may return its outcome or an exit code.

    The outcome is the last line that is printed; with `--json` the only one on standard output.
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
        as_json = flags.as_json.value
        with _interruptible(), missing_settings_named('the config'), prints_aside(as_json):
            done = command()
    except KeyboardInterrupt:
        print(f'\n{on_interrupt}', file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except _MENDABLE as error:
        sys.exit('\n'.join(map(one_line, f'error: {_in_words(error)}'.split('\n'))))
    done = done if isinstance(done, Done) else Done(code=done or 0)
    if line := done.json() if as_json else done.line():
        print(line, flush=True)
    if done.code:
        sys.exit(done.code)


def _in_words(error: BaseException) -> str:
    """An error's text; of the system's errors without their number."""
    if isinstance(error, OSError) and error.strerror:
        names = (os.fsdecode(name) for name in (error.filename, error.filename2) if name)
        return ': '.join([*names, error.strerror])
    return str(error)


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


def keep_compiled(folder: str = COMPILED) -> None:
    """Keeps compiled programs in a folder: a command run again starts sooner. '' for none."""
    import jax  # not every command needs it

    jax.config.update('jax_compilation_cache_dir', folder or None)
