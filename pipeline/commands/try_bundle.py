"""The command that shows a bundle to a person: a page on this computer to drop pictures on or type texts into."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.parts import answers


@answers
def try_command(
    bundle: Annotated[Path, typer.Argument(help="A bundle, a folder.", metavar="BUNDLE")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where it is served; 0: any free port.")] = 0,
    show: Annotated[bool, typer.Option("--open", help="Opens the page in your browser.")] = False,
) -> None:
    """Serves a page, to this computer alone, that runs a bundle's files on your pictures or texts. Ctrl-C ends it."""
    import threading
    import webbrowser

    from pipeline.clients.local_page import served_bundle

    with served_bundle(bundle, port) as served:
        print(f"{bundle}: try it at {served.address} (Ctrl-C ends)", flush=True)
        if show:
            webbrowser.open(served.address)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("\nended")
