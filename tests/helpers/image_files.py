"""Files of images."""

from PIL import Image


def pictures(folder, count=12, size=(4, 3)):
    """PNG files, each of one colour: (number, 2 * number, 255 - number)."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:03}.png" for number in range(count)]
    for number, path in enumerate(paths):
        Image.new("RGB", size, (number, 2 * number, 255 - number)).save(path)
    return paths
