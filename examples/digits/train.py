"""A training script as people write them: it reads files at a path and writes files at a path.

    python examples/digits/train.py --data FOLDER --out FOLDER

FOLDER has one folder a class with PNG files in it. Nothing here knows where the files come from. Written are model.joblib
and metrics.json: {accuracy, files, bytes_read, seconds_reading, seconds_training}, the accuracy being that of the fifth of
the files that was held out.
"""

import argparse
import io
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
from PIL import Image
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

LEVEL = 15  # grey levels in a file for one in the data set
PLAIN_LINE_EVERY_S = 5.0


def shown(paths: list[Path]) -> Iterator[Path]:
    """Yield `paths`, with a progress bar on a terminal and a plain line now and then elsewhere."""
    live, last = sys.stdout.isatty(), time.monotonic()
    for done, path in enumerate(paths, 1):
        yield path
        final, now = done == len(paths), time.monotonic()
        if live and (final or now - last > 0.1):
            filled = 30 * done // len(paths)
            print(
                f"\rreading {'█' * filled}{'░' * (30 - filled)} {done}/{len(paths)}",
                end="\n" if final else "",
                flush=True,
            )
            last = now
        elif final or now - last > PLAIN_LINE_EVERY_S:
            print(f"reading: {done} of {len(paths)} files", flush=True)
            last = now


def read(data: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """Every image below `data` as a row of pixels, its class, and the bytes read."""
    paths = sorted(data.glob("*/*.png"))
    if not paths:
        sys.exit(f"{data}: no PNG files in class folders")
    rows, labels, size_bytes = [], [], 0
    for path in shown(paths):
        content = path.read_bytes()
        size_bytes += len(content)
        rows.append(np.asarray(Image.open(io.BytesIO(content)), dtype=float).ravel() / LEVEL)
        labels.append(int(path.parent.name))
    return np.array(rows), np.array(labels), size_bytes


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Train a classifier on PNG files in class folders.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    begin = time.perf_counter()
    rows, labels, size_bytes = read(options.data)
    seconds_reading = time.perf_counter() - begin

    begin = time.perf_counter()
    seen, held_out, seen_labels, held_out_labels = train_test_split(
        rows, labels, test_size=0.2, random_state=0, stratify=labels
    )
    model = SVC(gamma=0.001).fit(seen, seen_labels)
    accuracy = float(model.score(held_out, held_out_labels))
    seconds_training = time.perf_counter() - begin

    metrics = {
        "accuracy": round(accuracy, 4),
        "files": len(labels),
        "bytes_read": size_bytes,
        "seconds_reading": round(seconds_reading, 3),
        "seconds_training": round(seconds_training, 3),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, options.out / "model.joblib")
    (options.out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    print(f"accuracy {accuracy:.4f} on {len(held_out_labels)} images that were held out")


if __name__ == "__main__":
    main()
