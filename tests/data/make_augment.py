"""Makes golden_augment.bin beside itself: the boxes and flips that
torchvision's RandomResizedCrop and RandomHorizontalFlip draw from our random
numbers (src/base/rng.c, src/data/augment.c), and what its crop, resize and
hflip make of the images of make_images.py.  Needs torch, torchvision, pillow
and numpy:
    python3 tests/data/make_augment.py"""
import os
import struct
from unittest import mock

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, RandomHorizontalFlip, RandomResizedCrop
from torchvision.transforms import functional as F

from make_images import FOLDER, HARD, NOISE, PHOTO, as_pillow, source
from philox import uniform

# scale, ratio, probability of a flip
RULES = [((0.2, 1), (3 / 4, 4 / 3), 0.5), ((0.08, 1), (3 / 4, 4 / 3), 0.5),
         ((1, 1), (1, 1), 1), ((0.01, 0.02), (0.1, 10), 0), ((0.5, 0.7), (2, 3), 0.25),
         ((0.9, 1), (1 / 500, 1 / 400), 0.9)]
# width, height; the last ones have no box of most rules, but the fallback's
SIZES = [(500, 375), (375, 500), (640, 427), (224, 224), (28, 28), (96, 96), (32, 33),
         (1200, 900), (4000, 3000), (65536, 2000), (7, 5), (3, 3), (1, 1), (2, 1), (1, 3),
         (1000, 100), (100, 1000), (30000, 2), (2, 30000), (65536, 1), (1, 65536),
         (65536, 65536), (51, 400), (401, 50), (300, 99)]
PER_SIZE = 6

# kind, width, height, channels, box (left, top, width, height), flip, target
# width, height, channels
CROPS = [
    (PHOTO, 300, 200, 3, 40, 30, 150, 120, 0, 40, 40, 3),
    (PHOTO, 300, 200, 3, 40, 30, 150, 120, 1, 40, 40, 3),
    (PHOTO, 300, 200, 4, 0, 0, 300, 200, 1, 64, 48, 3),
    (PHOTO, 300, 200, 3, 177, 100, 123, 100, 1, 61, 61, 1),
    (PHOTO, 300, 200, 1, 3, 5, 290, 40, 1, 32, 32, 3),
    (NOISE, 61, 47, 3, 17, 9, 23, 31, 1, 32, 32, 3),
    (NOISE, 61, 47, 3, 60, 46, 1, 1, 1, 8, 8, 3),
    (NOISE, 61, 47, 1, 0, 46, 61, 1, 1, 33, 17, 1),
    (NOISE, 61, 47, 1, 60, 0, 1, 47, 0, 17, 33, 1),
    (HARD, 61, 47, 3, 5, 5, 48, 40, 1, 48, 40, 3),
    (HARD, 61, 47, 3, 5, 6, 7, 8, 1, 50, 60, 3),
    (HARD, 47, 61, 4, 1, 1, 45, 59, 1, 20, 21, 4),
]


def scaled(u, low, high):
    """As torch's uniform_, which rounds the product and the sum at once."""
    low, high = np.float32(low), np.float32(high)
    return np.float32(float(u) * float(high - low) + float(low))


class Numbers:
    """Stands in for torch's generator: 44 values for each image number, the
    first for the flip, then from the fifth on four for each try."""

    def __init__(self, seed, number):
        stream, first = int.from_bytes(b"augment", "big"), number * 44 % 2**64
        self.values = [uniform(seed, stream, first + i) for i in range(44)]
        self.next = 4

    def take(self):
        self.next += 1
        return self.values[self.next - 1]

    def uniform_(self, tensor, low, high):
        self.next += -self.next % 4 if self.next % 4 > 1 else 0  # a new try
        return tensor.fill_(float(scaled(self.take(), low, high)))

    def randint(self, low, high, size):
        return torch.tensor([low + int(float(self.take()) * (high - low))])


def draw(rule, width, height, seed, number):
    scale, ratio, flip = rule
    numbers = Numbers(seed, number)
    with mock.patch.object(torch.Tensor, "uniform_", lambda *a: numbers.uniform_(*a)), \
         mock.patch.object(torch, "randint", numbers.randint):
        image = torch.empty(1, 1, 1).expand(1, height, width)
        top, left, h, w = RandomResizedCrop.get_params(image, list(scale), list(ratio))
    if h == 0:  # the fallback's box of a few pixels, which torch cannot resize
        h, top = 1, (height - 1) // 2
    if w == 0:
        w, left = 1, (width - 1) // 2
    with mock.patch.object(torch, "rand", lambda n: torch.tensor([numbers.values[0]])):
        flipped = RandomHorizontalFlip(flip)(torch.tensor([[[0.0, 1.0]]]))[0, 0, 0] == 1
    return (left, top, w, h, int(flipped)), numbers.next == 42


def check_formula():
    """scaled() computes as torch does."""
    for low, high in [(0.2, 1.0), (0.08, 1.0), (-0.28768208622932434, 0.28768208622932434)]:
        wrong = 0
        for seed in range(2000):
            torch.manual_seed(seed)
            theirs = torch.empty(1).uniform_(low, high).numpy()[0]
            torch.manual_seed(seed)
            u = torch.rand(1).numpy()[0]
            wrong += theirs != scaled(u, low, high)
        print(f"uniform_({low:.3g}, {high:.3g}): {wrong} of 2000 differ")
        assert wrong == 0


def crop(case):
    kind, width, height, channels, left, top, w, h, flip, to_w, to_h, chans = case
    image = as_pillow(source(kind, width, height, channels))
    planes = [image.convert("L" if chans == 1 else "RGB")] if chans < 4 else image.split()
    out, worst = [], 0
    for plane in planes:
        box = F.crop(plane, top, left, h, w)
        box = box.resize((to_w, h), Image.BICUBIC).resize((to_w, to_h), Image.BICUBIC)
        theirs = F.resized_crop(plane, top, left, h, w, [to_h, to_w], InterpolationMode.BICUBIC)
        if flip:
            box, theirs = F.hflip(box), F.hflip(theirs)
        box, theirs = F.pil_to_tensor(box).numpy(), F.pil_to_tensor(theirs).numpy()
        worst = max(worst, np.abs(box.astype(int) - theirs).max())
        out.append(box)
    # Some Pillows resize tall images down first, which rounds otherwise.
    print(f"crop {case}: {worst} levels from resized_crop")
    assert worst <= (64 if kind == HARD else 2)
    return np.concatenate(out)


def main():
    with open(os.path.join(FOLDER, "golden_augment.bin"), "wb") as file:
        file.write(struct.pack("<3i", len(RULES), len(RULES) * len(SIZES) * PER_SIZE, len(CROPS)))
        for scale, ratio, flip in RULES:
            file.write(struct.pack("<5d", *scale, *ratio, flip))
        fallbacks = 0
        for r, rule in enumerate(RULES):
            for s, (width, height) in enumerate(SIZES):
                for i in range(PER_SIZE):
                    seed = (r * 0x9E3779B97F4A7C15 + s) % 2**64
                    number = [i, 12345 + i, 2**40 + i, 2**64 - 1 - i][(s + i) % 4]
                    box, ran_out = draw(rule, width, height, seed, number)
                    fallbacks += ran_out
                    file.write(struct.pack("<2Q8i", seed, number, r, width, height, *box))
        print(f"{fallbacks} took all tries")
        assert fallbacks > 100
        for case in CROPS:
            out = crop(case)
            assert out.shape == (case[11], case[10], case[9])
            file.write(struct.pack("<12i", *case) + out.tobytes())


if __name__ == "__main__":
    check_formula()
    main()
