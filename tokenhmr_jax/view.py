"""Web page of a prediction's result.

    python -m tokenhmr_jax.view RESULT

writes and opens RESULT/view.html. The page shows the pictures with the bodies over them, the bodies
in 3D to turn around, a timeline, and a list of people, and gives them as GLB, BVH and npz. It needs
no network and no other file.
"""

import webbrowser
from collections.abc import Sequence

from tokenhmr_jax import cli
from tokenhmr_jax.inference.outputs.page import write_page


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments, operands='RESULT, the folder of a prediction')
    browser = flags.boolean('browser', True, 'Open the page.')

    def command():
        path = write_page(flags.operands[0])
        print(f'{path.name}: {path.stat().st_size / 1e6:.1f} MB')
        if browser.value and webbrowser.open(path.as_uri()):
            return cli.Done(path)
        return cli.Done(path, f'open {path.as_uri()} in a browser')

    cli.run(flags, command)


if __name__ == '__main__':
    main()
