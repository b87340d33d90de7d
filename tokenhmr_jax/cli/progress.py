"""Progress of long work, on a terminal and in a log."""

import collections
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from tqdm import tqdm

_LINE_SECONDS = 10.0  # between two lines of progress
_RATE_LINES = 7  # over which the rate is measured


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
