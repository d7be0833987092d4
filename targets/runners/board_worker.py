"""What runs on a board: the `__main__` of the zip that `targets.runners.ssh` sends there with the request.

`python3 FILE.zip measure REQUEST.json` prints lines of JSON: a list for each part of the samples, in milliseconds, and
at last the answer, an object. `python3 FILE.zip run REQUEST.json` writes outputs.npz beside the request.
"""

import json
import sys
from pathlib import Path

try:
    import numpy as np

    from targets.errors import TargetError
    from targets.runners.worker import main, outputs
except ModuleNotFoundError as missing:
    sys.exit(f"{missing.name} can't be used here; pip install {missing.name}")


def tell(message: object) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    what, request_file = sys.argv[1], Path(sys.argv[2])
    try:
        if what == "measure":
            tell(main(request_file, tell))
        else:
            np.savez(request_file.with_name("outputs.npz"), **outputs(request_file))  # type: ignore[arg-type]
    except TargetError as error:
        sys.exit(str(error))
