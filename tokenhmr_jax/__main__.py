"""`python -m tokenhmr_jax` lists the commands."""

import ast
import pathlib

COMMANDS = (
    'demo', 'train', 'evaluate', 'predict', 'view', 'preview', 'refit', 'pack', 'convert', 'export',
    'report', 'plan', 'check',
)  # fmt: skip


_EXIT_CODES = (
    'exit codes:',
    '  0    done',
    '  1    failed for the reason printed, such as an unknown flag: it would fail again',
    '  75   a training or a sweep was stopped: the same command goes on',
    '  130  Ctrl-C',
    '',
    'The last line tells what was written and what to run next. With --json it is a JSON object',
    'with wrote, next and result, and all of standard output; the rest goes to standard error.',
)


def studies() -> list[str]:
    """The names of the studies that are commands: 'studies.NAME'."""
    paths = sorted((pathlib.Path(__file__).parent / 'studies').glob('*.py'))
    return [f'studies.{p.stem}' for p in paths if "__name__ == '__main__'" in p.read_text()]


def list_commands() -> str:
    """One line for each command and each study."""
    lines = ['python -m tokenhmr_jax.COMMAND --help tells more of each.', '', 'commands:']
    lines += [_line(name) for name in COMMANDS]
    lines += ['', 'studies:']
    lines += [_line(name) for name in studies()]
    return '\n'.join([*lines, '', *_EXIT_CODES])


def _line(name: str) -> str:
    path = pathlib.Path(__file__).parent / f'{name.replace(".", "/")}.py'
    return f'  {name:22} {ast.get_docstring(ast.parse(path.read_text())).splitlines()[0]}'


if __name__ == '__main__':
    print(list_commands())
