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
)


def list_commands() -> str:
    """One line for each command and each study."""
    folder = pathlib.Path(__file__).parent
    lines = ['python -m tokenhmr_jax.COMMAND --help tells more of each.', '', 'commands:']
    lines += [_line(folder / f'{name}.py', name) for name in COMMANDS]
    lines += ['', 'studies:']
    for path in sorted((folder / 'studies').glob('*.py')):
        if "__name__ == '__main__'" in path.read_text():
            lines.append(_line(path, f'studies.{path.stem}'))
    return '\n'.join([*lines, '', *_EXIT_CODES])


def _line(path: pathlib.Path, name: str) -> str:
    return f'  {name:22} {ast.get_docstring(ast.parse(path.read_text())).splitlines()[0]}'


if __name__ == '__main__':
    print(list_commands())
