"""The library's random numbers (src/base/rng.c) in Python."""
import math

import numpy as np

LOW = 0xFFFFFFFF


def words(seed, stream, counter):
    """Four words: one block of Philox4x32-10."""
    counter %= 2**64
    c = [counter & LOW, counter >> 32, stream & LOW, stream >> 32]
    k = [seed & LOW, seed >> 32]
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [b >> 32 ^ c[1] ^ k[0], b & LOW, a >> 32 ^ c[3] ^ k[1], a & LOW]
        k = [k[0] + 0x9E3779B9 & LOW, k[1] + 0xBB67AE85 & LOW]
    return c


def uniform(seed, stream, index):
    """Value `index`, as mae_random_uniform gives it."""
    return np.float32((words(seed, stream, index // 4)[index % 4] >> 8) / 2**24)


def normal(seed, stream, index):
    """Value `index`, as mae_random_normal gives it."""
    u, v = (w >> 8 for w in words(seed, stream, index // 4)[index % 4 // 2 * 2:][:2])
    radius, angle = math.sqrt(-2 * math.log((u + 1) / 2**24)), 6.283185307179586 * (v / 2**24)
    return np.float32(radius * (math.sin(angle) if index % 2 else math.cos(angle)))


def permutation(seed, stream, n):
    """As mae_random_permutation gives it."""
    out = [0] * n
    for i in range(n):
        block = words(seed, stream, i)
        j = (block[1] << 32 | block[0]) * (i + 1) >> 64
        out[i], out[j] = out[j], i
    return out
