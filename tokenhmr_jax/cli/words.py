"""Words of what commands print."""


def one_line(text: object) -> str:
    """A text in one line that every terminal prints: names of files may hold any character."""
    return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def counted(count: int, noun: str, plural: str = '') -> str:
    """For example '1 frame', '2 frames'."""
    return f'{count} {noun if count == 1 else plural or noun + "s"}'
