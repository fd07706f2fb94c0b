"""The pictures themselves, asked for their size only: a header is read, and no picture is decoded.

An EXIF orientation is obeyed: who labels sees the picture turned, and so do training scripts that obey it.
"""

from pathlib import Path
from typing import Final

from runtime.errors import UserErrorException
from runtime.labels import places
from runtime.labels.values import BadItem, Size

_ORIENTATION: Final = 0x0112
_TURNED: Final = frozenset({5, 6, 7, 8})


def size_of(folder: Path, file: str) -> Size:
    """The size of an image that lies below `folder` as its path says.

    Raises:
        BadItem: it is not there, or is no image.
        UserErrorException: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise UserErrorException("reading images' sizes needs Pillow: pip install 'moorage[labels]'") from None
    path = folder / places.path_of(file)
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(_ORIENTATION) in _TURNED
    except FileNotFoundError:
        raise BadItem(f"{path}: no such file", "no file") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise BadItem(f"{path}: no image that can be read", "no image") from None
    return Size(height, width) if turned else Size(width, height)
