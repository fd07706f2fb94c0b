"""The input of the example: scikit-learn's 1,797 handwritten digits as PNG files in class folders.

    python examples/digits/prepare.py FOLDER        makes FOLDER/0/0000.png ... FOLDER/9/1796.png

Pixels are 0..16 in the data set and 0..240 in the files, so nothing is lost.
"""

import argparse
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits

LEVEL = 15


def prepare(folder: Path) -> int:
    """Write every digit that is not there yet; return how many there are."""
    digits = load_digits()
    for name in digits.target_names:
        (folder / str(name)).mkdir(parents=True, exist_ok=True)
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / str(label) / f"{number:04}.png"
        if not path.exists():
            Image.fromarray((pixels * LEVEL).astype("uint8")).save(path)
    return len(digits.target)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Write scikit-learn's digits as PNG files in class folders.")
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    print(f"{prepare(folder)} files in {folder}")


if __name__ == "__main__":
    main()
