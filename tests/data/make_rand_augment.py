"""Makes golden_rand_augment.bin beside itself: what timm's operations of
RandAugment make, with Pillow, of the images of make_images.py, alone and as
drawn from our random numbers (src/data/rand_augment.c), and the boxes that
timm's RandomErasing draws from them (src/data/erase.c).  Of pixels the file
has a hash.  Needs timm, torch, torchvision, pillow and numpy:
    python3 tests/data/make_rand_augment.py"""
import math
import os
import struct
from unittest import mock

import numpy as np
import torch
from PIL import Image
from timm.data import auto_augment as A
from timm.data import random_erasing as E

from make_augment import uniform
from make_images import FOLDER, HARD, NOISE, PHOTO, as_pillow, source

# kind, width, height, channels
PICTURES = [(PHOTO, 37, 29, 3), (HARD, 24, 31, 3), (NOISE, 31, 24, 3), (PHOTO, 28, 28, 1),
            (NOISE, 17, 40, 1), (NOISE, 1, 1, 3), (NOISE, 1, 1, 1), (NOISE, 2, 5, 3),
            (HARD, 7, 1, 1), (NOISE, 1, 9, 3), (NOISE, 3, 3, 3)]
LARGE = (PHOTO, 224, 192, 3)
FILLS = [(124, 116, 104), (114,)]
MAGNITUDES = [0, 4.9, 9, 9.45, 10]
NAMES = {True: A._RAND_INCREASING_TRANSFORMS, False: A._RAND_TRANSFORMS}
LAYERS, VALUES, NORMAL = 16, 8, 4  # of rand_augment.c
# height, width
ERASED = [(224, 224), (28, 28), (96, 160), (5, 7), (2, 2), (1, 1), (1, 9), (9, 1), (400, 3)]


def normal(seed, stream, index):
    """Value `index` as mae_random_normal gives it."""
    first = index - index % 2
    u = float(uniform(seed, stream, first)) + 2**-24
    angle = 6.283185307179586 * float(uniform(seed, stream, first + 1))
    radius = math.sqrt(-2 * math.log(u))
    return np.float32(radius * (math.sin(angle) if index % 2 else math.cos(angle)))


def fnv(planes):
    hash = 0xCBF29CE484222325
    for byte in planes.tobytes():
        hash = (hash ^ byte) * 0x100000001B3 & 2**64 - 1
    return hash


def hash_of(image):
    pixels = np.asarray(image)
    return fnv(pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def posterize(image, bits, **_):
    """Older Pillows make an image of no bits black; newer ones refuse it."""
    if bits == 0:
        return Image.new(image.mode, image.size)
    return A.posterize(image, bits)


def apply(image, name, magnitude, random, fill):
    """timm's operation at exactly this magnitude."""
    with mock.patch.object(A.random, "random", random), \
         mock.patch.dict(A.NAME_TO_OP, {n: posterize for n in A.NAME_TO_OP if "Posterize" in n}):
        op = A.AugmentOp(name, prob=1, magnitude=magnitude,
                         hparams=dict(img_mean=fill, interpolation=Image.BICUBIC))
        return op(image)


def operations():
    for increasing, names in NAMES.items():
        for kind, name in enumerate(names):
            if not increasing and name in NAMES[True]:
                continue  # the same as above
            fixed = A.LEVEL_TO_ARG[name] is None
            for magnitude in [9] if fixed else MAGNITUDES:
                for negative in [False, True]:
                    pictures = PICTURES + ([LARGE] if magnitude == 9 else [])
                    for picture in pictures:
                        fill = FILLS[picture[3] == 1]
                        image = apply(as_pillow(source(*picture)), name, magnitude,
                                      lambda: 0.75 if negative else 0.25, fill)
                        yield struct.pack("<8idQ", *picture, kind, increasing, negative, 0,
                                          magnitude, hash_of(image))


def drawn(increasing, magnitude, std, ops, seed, number, picture):
    """timm's AugmentOps, as its RandAugment goes through them."""
    stream = int.from_bytes(b"randaug", "big")
    image = as_pillow(source(*picture))
    fill = FILLS[picture[3] == 1]
    applied = 0
    for k in range(ops):
        first = (number * LAYERS + k) * VALUES % 2**64
        u = [float(uniform(seed, stream, first + i)) for i in range(3)]
        z = float(normal(seed, stream, first + NORMAL))
        name = NAMES[increasing][int(u[0] * len(NAMES[increasing]))]
        numbers = iter(u[1:])
        with mock.patch.object(A.random, "random", lambda: next(numbers)), \
             mock.patch.object(A.random, "gauss", lambda mean, s: mean + z * s), \
             mock.patch.dict(A.NAME_TO_OP, {n: posterize for n in A.NAME_TO_OP
                                            if "Posterize" in n}):
            op = A.AugmentOp(name, magnitude=magnitude, hparams=dict(
                img_mean=fill, interpolation=Image.BICUBIC, magnitude_std=std))
            image = op(image)
        applied += u[1] <= 0.5
    return image, applied


def runs():
    rules = [(True, 9, 0.5, 2), (False, 9, 0.5, 2), (True, 5, 3, 4), (True, 10, 0, 16)]
    total = 0
    for r, rule in enumerate(rules):
        for i in range(40):
            seed = r * 0x9E3779B97F4A7C15 + 1 & 2**64 - 1
            number = [i, 2**40 + i, 2**64 - 1 - i][i % 3]
            picture = PICTURES[i % 5]
            image, applied = drawn(*rule, seed, number, picture)
            total += applied
            yield struct.pack("<4i2iQQddQ", *picture, rule[0], rule[3], seed, number, rule[1],
                              rule[2], hash_of(image))
    print(f"{total} operations were applied")


class Numbers:
    """Stands in for Python's generator: 44 values for each image number, the
    first for whether to erase, then from the fifth on four for each try."""

    def __init__(self, seed, number):
        stream, first = int.from_bytes(b"erase", "big"), number * 44 % 2**64
        self.values = [float(uniform(seed, stream, first + i)) for i in range(44)]
        self.next = 4

    def random(self):
        return self.values[0]

    def take(self):
        self.next += 1
        return self.values[self.next - 1]

    def uniform(self, low, high):
        self.next += -self.next % 4 if self.next % 4 > 1 else 0  # a new try
        return low + (high - low) * self.take()

    def randint(self, low, high):
        return low + int(self.take() * (high - low + 1))


def erase(height, width, probability, seed, number):
    image = torch.zeros(1, height, width)
    eraser = E.RandomErasing(probability, mode="pixel", device="cpu")
    with mock.patch.object(E, "random", Numbers(seed, number)), \
         mock.patch.object(E, "_get_pixels", lambda a, b, shape, **_: torch.ones(shape)):
        eraser(image)
    rows, columns = torch.where(image[0])
    if not len(rows):
        return 0, 0, 0, 0
    left, top = int(columns.min()), int(rows.min())
    return left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top


def erasures():
    erased = 0
    for probability in [1, 0.25]:
        for s, (height, width) in enumerate(ERASED):
            for i in range(12):
                seed, number = s + 7, [i, 2**40 + i, 2**64 - 1 - i][i % 3]
                box = erase(height, width, probability, seed, number)
                erased += box[2] > 0
                yield struct.pack("<QQd6i", seed, number, probability, height, width, *box)
    print(f"{erased} boxes were erased")


def main():
    assert A._RAND_INCREASING_TRANSFORMS[4:6] == ["PosterizeIncreasing", "SolarizeIncreasing"]
    parts = [list(operations()), list(runs()), list(erasures())]
    with open(os.path.join(FOLDER, "golden_rand_augment.bin"), "wb") as file:
        file.write(struct.pack("<3i", *map(len, parts)))
        for part in parts:
            print(len(part), len(part[0]))
            file.write(b"".join(part))


if __name__ == "__main__":
    main()
