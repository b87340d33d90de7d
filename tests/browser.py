"""A headless Chromium, spoken to over the DevTools protocol through two pipes."""

import base64
import itertools
import json
import os
import pathlib
import select
import shutil
import subprocess
import time

import pytest

NAMES = ('chromium-headless-shell', 'chromium', 'google-chrome')
_OPTIONS = (
    '--headless=new', '--no-sandbox', '--use-angle=swiftshader', '--enable-unsafe-swiftshader',
    '--autoplay-policy=no-user-gesture-required', '--remote-debugging-pipe', '--no-first-run',
    '--disable-dev-shm-usage',
)  # fmt: skip
_LONGEST = 120  # seconds of any answer: software draws slowly on a busy machine


class Browser:
    """One page. `errors`: what it has thrown or logged as an error; `requests`: its URLs."""

    def __init__(self, folder: pathlib.Path, *options: str):
        program = next(filter(None, map(shutil.which, NAMES)), None)
        if program is None:
            pytest.skip('no headless Chromium here')
        read, self._out = os.pipe()
        self._in, write = os.pipe()
        line = [program, *_OPTIONS, *options, f'--user-data-dir={folder}']
        # The browser reads from 3 and writes to 4.
        script = f'exec 3<&{read} 4>&{write}; exec "$@"'
        self._process = subprocess.Popen(
            ['bash', '-c', script, 'bash', *line], pass_fds=(read, write), stderr=subprocess.DEVNULL
        )
        os.close(read)
        os.close(write)
        self._numbers, self._buffer, self._session = itertools.count(1), b'', {}
        self.errors, self.requests = [], []
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        found = self.call('Target.attachToTarget', targetId=target, flatten=True)
        self._session = {'sessionId': found['sessionId']}
        for domain in ('Runtime', 'Page', 'Network'):
            self.call(f'{domain}.enable')

    def call(self, method: str, **params) -> dict:
        """The answer to a command of the protocol."""
        number = next(self._numbers)
        message = {'id': number, 'method': method, 'params': params} | self._session
        os.write(self._out, json.dumps(message).encode() + b'\0')
        end = time.monotonic() + _LONGEST
        while True:
            answer = self._receive(end)
            if answer.get('id') == number:
                assert 'error' not in answer, (method, answer)
                return answer['result']
            self._note(answer.get('method'), answer.get('params'))

    def _receive(self, end: float) -> dict:
        while b'\0' not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(end - time.monotonic(), 0))
            data = os.read(self._in, 1 << 20) if ready else b''
            assert data, 'the browser does not answer'
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b'\0')
        return json.loads(message)

    def _note(self, method, params) -> None:
        if method == 'Runtime.exceptionThrown':
            self.errors.append(params['exceptionDetails'])
        if method == 'Runtime.consoleAPICalled' and params['type'] in ('error', 'warning'):
            self.errors.append(params['args'])
        if method == 'Network.requestWillBeSent':
            self.requests.append(params['request']['url'])

    def evaluate(self, expression: str):
        """The value of an expression in the page."""
        found = self.call(
            'Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True
        )
        assert 'exceptionDetails' not in found, found
        return found['result'].get('value')

    def wait_for(self, expression: str):
        """Waits until an expression of the page is true; returns it."""
        poll = f"""new Promise(resolve => {{
          const ask = () => {{ const v = ({expression}); v ? resolve(v) : setTimeout(ask, 20); }};
          ask();
        }})"""
        return self.evaluate(poll)

    def open(self, path: pathlib.Path, width: int, height: int, touch: bool = False) -> None:
        """Opens a page of a result at a size, pixels, and waits until it has drawn."""
        size = {'width': width, 'height': height, 'deviceScaleFactor': 1, 'mobile': touch}
        self.call('Emulation.setDeviceMetricsOverride', **size)
        self.call('Emulation.setTouchEmulationEnabled', enabled=touch)
        self.errors.clear()
        self.requests.clear()
        self.call('Page.navigate', url=path.absolute().as_uri())
        self.wait_for('document.documentElement?.dataset.ready')

    def screenshot(self) -> bytes:
        """A PNG of the page."""
        return base64.b64decode(self.call('Page.captureScreenshot')['data'])

    def mouse(self, kind: str, x: float, y: float, **more) -> None:
        """A mouse event: Pressed, Moved or Released, or Wheel."""
        button = {'button': 'left', 'buttons': 1, 'clickCount': 1}
        self.call('Input.dispatchMouseEvent', type=f'mouse{kind}', x=x, y=y, **button | more)

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        """A touch event: Start, Move or End, with the fingers that are down."""
        fingers = [{'x': x, 'y': y, 'id': i} for i, (x, y) in enumerate(points)]
        self.call('Input.dispatchTouchEvent', type=f'touch{kind}', touchPoints=fingers)

    def key(self, key: str) -> None:
        """A key pressed and released."""
        text = {'text': key} if len(key) == 1 else {}
        self.call('Input.dispatchKeyEvent', type='keyDown', key=key, **text)
        self.call('Input.dispatchKeyEvent', type='keyUp', key=key)

    def click(self, selector: str) -> None:
        """A click on an element, where it is seen."""
        box = f'document.querySelector({json.dumps(selector)}).getBoundingClientRect()'
        x, y = self.evaluate(f'(b => [b.x + b.width / 2, b.y + b.height / 2])({box})')
        self.mouse('Moved', x, y, buttons=0)
        self.mouse('Pressed', x, y)
        self.mouse('Released', x, y)

    def close(self) -> None:
        """Ends the browser."""
        self._session = {}
        self.call('Browser.close')
        self._process.wait(timeout=60)
        os.close(self._out)
        os.close(self._in)
