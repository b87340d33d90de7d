"""Every fault that a run must survive, in full, and a table of how it did: `make faults`.

Tests anywhere in the suite that carry the marker `fault(number, what)` are its rows.
"""

import collections
import os
import pathlib
import sys

os.environ['FAULTS'] = 'full'

import pytest

TESTS = pathlib.Path(__file__).parent.parent


class Table:
    """Takes down how each fault's tests ended, how long they took and what they saw."""

    def __init__(self):
        self._rows = collections.defaultdict(list)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        if report.when == 'call' or not report.passed:
            row = item.get_closest_marker('fault').args
            self._rows[row].append(report)
        return report

    def pytest_terminal_summary(self, terminalreporter):
        write = terminalreporter.write_line
        write('\n| | fault | tests | seconds | seen |\n| ---: | --- | --- | ---: | --- |')
        for (number, what), reports in sorted(self._rows.items()):
            ends = collections.Counter(report.outcome for report in reports)
            ended = ', '.join(f'{count} {outcome}' for outcome, count in ends.items())
            seconds = sum(report.duration for report in reports)
            seen = '; '.join(value for r in reports for _, value in r.user_properties)
            write(f'| {number} | {what} | {ended} | {seconds:.0f} | {seen} |')


if __name__ == '__main__':
    sys.exit(pytest.main([str(TESTS), '-q', '-m', 'fault', *sys.argv[1:]], plugins=[Table()]))
