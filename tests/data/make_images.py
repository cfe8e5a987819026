"""Makes golden_resize.bin beside itself: what torchvision's Resize (bicubic) and
CenterCrop make of some images, which tests/test_preprocess.c draws itself by
the formulas of source() below.  Needs torchvision, pillow and numpy:
    python3 tests/data/make_images.py

Pillow resizes across, then down; from 13.0 on some tall images the other way
round, which rounds otherwise.  Two calls keep to the first order."""
import os
import struct

import numpy as np
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

FOLDER = os.path.dirname(os.path.abspath(__file__))
NOISE, PHOTO, HARD = 0, 1, 2
# kind, width, height, channels -> width, height, channels, crop ratio * 1000
RESIZES = [
    (PHOTO, 300, 200, 3, 96, 96, 3, 0), (PHOTO, 300, 200, 3, 224, 224, 1, 0),
    (PHOTO, 300, 200, 3, 7, 7, 3, 1000), (PHOTO, 200, 300, 4, 40, 56, 3, 875),
    (NOISE, 61, 47, 3, 32, 32, 3, 0), (NOISE, 47, 61, 3, 32, 32, 3, 1000),
    (HARD, 61, 47, 3, 48, 48, 3, 0), (HARD, 47, 61, 1, 20, 20, 1, 1000),
    (HARD, 13, 11, 3, 50, 50, 3, 900), (NOISE, 47, 33, 1, 32, 32, 3, 0),
    (NOISE, 50, 41, 4, 33, 33, 3, 0), (NOISE, 50, 41, 4, 33, 33, 1, 613),
    (NOISE, 38, 55, 3, 31, 31, 1, 750), (NOISE, 1, 1, 3, 8, 8, 3, 0),
    (NOISE, 1, 60, 1, 8, 8, 1, 1000), (NOISE, 60, 1, 3, 8, 8, 3, 0),
    (NOISE, 200, 3, 3, 16, 16, 3, 0), (HARD, 3, 200, 3, 16, 16, 3, 0),
    (NOISE, 16, 16, 3, 16, 16, 3, 1000), (NOISE, 21, 16, 3, 16, 16, 3, 1000),
    (NOISE, 19, 16, 3, 16, 16, 3, 1000), (NOISE, 32, 37, 3, 28, 28, 3, 0),
    (NOISE, 61, 47, 3, 40, 24, 3, 0), (NOISE, 61, 47, 3, 24, 40, 3, 1000),
    (NOISE, 30, 44, 1, 48, 17, 1, 700), (NOISE, 61, 47, 1, 225, 9, 1, 0),
    (NOISE, 61, 47, 1, 1, 1, 1, 0), (NOISE, 40, 40, 4, 20, 20, 4, 1000),
]


def source(kind, width, height, channels):
    y, x, c = np.meshgrid(*(np.arange(n, dtype=np.uint32)
                            for n in (height, width, channels)), indexing="ij")
    noise = x * np.uint32(0x9E3779B1) ^ y * np.uint32(0x85EBCA77) ^ c * np.uint32(0xC2B2AE3D)
    noise = (noise ^ noise >> np.uint32(15)) * np.uint32(0x2C1B3C6D)
    noise = (noise ^ noise >> np.uint32(12)) * np.uint32(0x297A2D39) >> np.uint32(24)
    if kind == NOISE:
        out = noise
    elif kind == HARD:
        out = np.where(noise > 127, 255, 0)
    else:  # a slope, stripes, a bright disc, a little noise
        x, y, c = x.astype(int), y.astype(int), c.astype(int)
        wave = np.abs((5 * x + 3 * y + 40 * c) % 256 - 128)
        disc = (x - width // 3) ** 2 + (y - height // 2) ** 2 < (height // 4) ** 2
        out = np.minimum(x // 3 + 20 * c + wave // 2 + 90 * disc + noise // 16, 255)
    return out.astype(np.uint8)


def as_pillow(pixels):
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def resized_size(image, width, height, ratio):
    if not ratio:
        ratio = 224 / 256 if max(width, height) <= 224 else 1
    short, long = int(height / ratio), int(width / ratio)
    if width == height:
        return F.resize(image, short, InterpolationMode.BICUBIC).size
    if short * image.width >= long * image.height:
        return int(short * image.width / image.height), short
    return long, int(long * image.height / image.width)


def expected(pixels, width, height, chans, ratio):
    image = as_pillow(pixels)
    if chans < 4:
        image = image.convert("L" if chans == 1 else "RGB")
        planes = [image]
    else:  # Pillow would weigh colours by alpha
        planes = list(image.split())
    size = resized_size(image, width, height, ratio)
    out = []
    for plane in planes:
        plane = plane.resize((size[0], image.height), Image.BICUBIC)
        plane = plane.resize(size, Image.BICUBIC)
        out.append(F.pil_to_tensor(F.center_crop(plane, [height, width])).numpy())
    return np.concatenate(out)


def make_resizes():
    with open(os.path.join(FOLDER, "golden_resize.bin"), "wb") as file:
        for case in RESIZES:
            kind, w, h, channels, width, height, chans, permille = case
            out = expected(source(kind, w, h, channels), width, height, chans,
                           permille / 1000)
            assert out.shape == (chans, height, width)
            file.write(struct.pack("<8i", *case) + out.tobytes())


if __name__ == "__main__":
    make_resizes()
