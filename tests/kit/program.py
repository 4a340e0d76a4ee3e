"""Calls a server by Imaging Server Kit's own client, as a user's program does.

    program.py CALLS FOLDER

CALLS is a JSON list of {"url", "params"}; "image" in params is the path of an array. FOLDER gets the label image of
each call, NUMBER.npy, and a JSON list, answers.json: what each call returned, or the error that its user sees.
"""

import json
import sys
from pathlib import Path

import numpy as np
import skimage.data

skimage.data.brain = lambda: np.zeros((2, 4, 4))  # the kit downloads this picture for its demo when it is imported

import imaging_server_kit as sk  # noqa: E402


def called(url, params, labels):
    client = sk.Client(url)
    image = np.load(params.pop("image"))
    stack = client.run(image, **params)  # FARO calls the client so
    mask = stack[0]
    np.save(labels, mask.data)
    features = {name: values.tolist() for name, values in mask.meta["features"].items()}
    return {
        "algorithms": client.algorithms,
        "samples": client.get_n_samples(),
        "kinds": [layer.kind for layer in stack],
        "names": [layer.name for layer in stack],
        "dtype": str(mask.data.dtype),
        "features": features,
        "metadata": mask.meta["metadata"],
        "notifications": [layer.data for layer in stack if layer.kind == "notification"],
    }


def main():
    calls, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    answers = []
    for number, call in enumerate(calls):
        try:
            answers.append(called(call["url"], call["params"], folder / f"{number}.npy"))
        except Exception as error:
            answers.append({"error": type(error).__name__, "message": str(error)})
    (folder / "answers.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
