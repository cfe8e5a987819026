"""Makes golden_mix.bin beside itself: what timm's Mixup (mode "batch") draws
from our random numbers (src/base/rng.c, src/train/mix.c), and what it makes of
small batches.  Needs timm, torch and numpy:
    python3 tests/data/make_mix.py"""
import math
import os
import struct
from unittest import mock

import numpy as np
import torch
from timm.data.mixup import Mixup, cutmix_bbox_and_lam

from philox import normal, uniform

FOLDER = os.path.dirname(os.path.abspath(__file__))
TRIES, STREAM = 15, int.from_bytes(b"mix", "big")

# alphas of mixup and cutmix, prob, switch_prob, height, width
RULES = [(0.8, 1, 1, 0.5, 224, 224), (0.8, 0, 1, 0.5, 28, 28), (0, 1, 1, 0.5, 28, 28),
         (0, 0.3, 1, 0.5, 33, 7), (0.01, 0.01, 0.7, 0.3, 16, 24), (5, 200, 0.9, 0.9, 96, 64),
         (1, 1, 0.5, 0, 8, 8), (1, 1, 1, 1, 1, 1)]
DRAWS = 40

# images, channels, height, width, classes, label smoothing, rule
BATCHES = [(6, 3, 5, 7, 4, 0.1, 1), (4, 1, 12, 12, 10, 0.0, 2), (2, 2, 33, 7, 3, 0.1, 3),
           (8, 1, 4, 4, 2, 0.3, 1)]


def log_of(u):
    return math.log(float(u) + 0.5 / 2**24)


class Numbers:
    """Stands in for numpy's generator."""

    def __init__(self, seed, number):
        self.seed, self.first = seed, number * 4 * (2 + 2 * TRIES) % 2**64
        self.rands = [self.uniform(0), self.uniform(1)]
        self.centre = [self.uniform(2), self.uniform(3)]

    def uniform(self, at):
        return float(uniform(self.seed, STREAM, (self.first + at) % 2**64))

    def rand(self):
        return self.rands.pop(0)

    def randint(self, low, high, size=None):
        return low + int(self.centre.pop(0) * (high - low))

    def log_gamma(self, shape, at):
        d = shape - 1 / 3
        for i in range(at, at + 4 * TRIES, 4):
            x, u = float(normal(self.seed, STREAM, (self.first + i) % 2**64)), self.uniform(i + 2)
            v = (1 + x / math.sqrt(9 * d)) ** 3
            if v > 0 and log_of(u) < x * x / 2 + d - d * v + d * math.log(v):
                return math.log(d * v)
        raise AssertionError("no try succeeded")

    def beta(self, alpha, same):
        assert alpha == same
        a = self.log_gamma(alpha + 1, 8) + log_of(self.uniform(4)) / alpha
        b = self.log_gamma(alpha + 1, 8 + 4 * TRIES) + log_of(self.uniform(5)) / alpha
        return 1 / (1 + math.exp(min(b - a, 700)))

    def patch(self):
        return mock.patch.multiple(np.random, rand=self.rand, randint=self.randint, beta=self.beta)


def mixup(rule, **more):
    return Mixup(mixup_alpha=rule[0], cutmix_alpha=rule[1], prob=rule[2], switch_prob=rule[3],
                 **more)


def draw(rule, seed, number):
    with Numbers(seed, number).patch():
        lam, cut = mixup(rule)._params_per_batch()
        box = (0, 0, 0, 0)
        if cut:
            box, lam = cutmix_bbox_and_lam((1, 1, *rule[4:]), lam)
    top, bottom, left, right = (int(x) for x in box)
    return struct.pack("<d6i", lam, int(cut), top, left, bottom, right, 0)


def seed_of(rule, i):
    return (rule * 0x9E3779B97F4A7C15 + i % 3) % 2**64, [i, 12345 + i, 2**40 + i, 2**64 - 1 - i][i % 4]


def mixes(drawn):
    return 0.2 < struct.unpack("<d6i", drawn)[0] < 0.8


def batch(b, case):
    n, chans, height, width, classes, smoothing, rule = case
    rule = RULES[rule][:4] + (height, width)
    generator = np.random.default_rng(b)
    images = torch.tensor(generator.standard_normal((n, chans, height, width)), dtype=torch.float32)
    labels = torch.tensor(generator.integers(0, classes, n))
    seed, number = 77 + b, next(i for i in range(99) if mixes(draw(rule, 77 + b, i)))
    header = struct.pack("<6id", *case[:5], 0, smoothing) + draw(rule, seed, number)
    out = header + labels.numpy().astype("<i4").tobytes() + images.numpy().tobytes()
    before = images.clone()
    with Numbers(seed, number).patch():
        mixed, targets = mixup(rule, label_smoothing=smoothing, num_classes=classes)(images, labels)
    assert not torch.equal(mixed, before)
    return out + mixed.numpy().tobytes() + targets.numpy().tobytes()


def main():
    with open(os.path.join(FOLDER, "golden_mix.bin"), "wb") as file:
        file.write(struct.pack("<4i", len(RULES), DRAWS, len(BATCHES), 0))
        for r, rule in enumerate(RULES):
            file.write(struct.pack("<4d2i", *rule))
            for i in range(DRAWS):
                seed, number = seed_of(r, i)
                file.write(struct.pack("<2Q", seed, number) + draw(rule, seed, number))
        for b, case in enumerate(BATCHES):
            file.write(batch(b, case))


if __name__ == "__main__":
    main()
