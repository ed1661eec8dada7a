"""The generator of src/base/rng.h, and dropout that draws its masks from it.

Philox4x32-10 with the seed as its key and the counter { element / 4, image, draw, stream }. Each
place in a network that drops something has a site number, counted over the forward pass; places
with rate 0 have none.
"""

import numpy as np
import torch
from torch import nn

DROPOUT, DROP_PATH = 5, 6  # streams


def philox(counter, key):
    """Four words each, integers or arrays of them; returns the four words of the block."""
    low = np.uint64(0xFFFFFFFF)
    c = [np.asarray(word, np.uint64) for word in counter]
    k = [int(word) for word in key]
    for _ in range(10):
        a, b = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(b >> np.uint64(32)) ^ c[1] ^ np.uint64(k[0]), b & low,
             (a >> np.uint64(32)) ^ c[3] ^ np.uint64(k[1]), a & low]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


class Draws:
    """Shared by the modules of one network. begin() before each forward pass."""

    def __init__(self, seed=0, draw=0):
        self.seed, self.draw, self.site = seed, draw, 0

    def begin(self):
        self.site = 0

    def factors(self, stream, rate, batch, n):
        """(batch, n): 0 or 1 / (1 - rate), for the next site."""
        rate = np.float32(rate)
        key = (self.seed & 0xFFFFFFFF, self.seed >> 32)
        block, image = np.arange((n + 3) // 4), np.arange(batch)[:, None]
        words = philox((block, image, self.draw, stream | self.site << 8), key)
        words = np.stack(np.broadcast_arrays(*words), axis=-1).reshape(batch, -1)[:, :n]
        self.site += 1
        keep = words >= np.uint64(np.floor(float(rate) * 2.0 ** 32))
        return torch.from_numpy(keep * float(1 / (np.float32(1) - rate)))


class Drop(nn.Module):
    """Dropout of elements, numbered as they lie."""

    def __init__(self, draws, rate):
        super().__init__()
        self.draws, self.rate = draws, rate

    def forward(self, x):
        if not self.training:
            return x
        factors = self.draws.factors(DROPOUT, self.rate, len(x), x[0].numel())
        return x * factors.to(x.dtype).view(x.shape)


class BranchDrop(Drop):
    """The same of a branch: maps (B, C, H, W) are numbered channels-last, as tokens are."""

    def forward(self, x):
        if x.ndim == 3:
            return super().forward(x)
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class DropPath(nn.Module):
    """Stochastic depth: the whole branch of an image."""

    def __init__(self, draws, rate):
        super().__init__()
        self.draws, self.rate = draws, rate

    def forward(self, x):
        if not self.training:
            return x
        factors = self.draws.factors(DROP_PATH, self.rate, len(x), 1).to(x.dtype)
        return x * factors.view(-1, *[1] * (x.ndim - 1))


class Drops:
    """The rates of a network."""

    def __init__(self, embed=0.0, attn=0.0, proj=0.0, mlp=0.0, path=0.0, mode="sample",
                 draws=None):
        self.rates = {"embed": embed, "attn": attn, "proj": proj, "mlp": mlp}
        self.path, self.mode, self.draws = path, mode, draws or Draws()

    def elements(self, place):
        rate = self.rates[place]
        return Drop(self.draws, rate) if rate > 0 else nn.Identity()

    def branch(self, block, blocks):
        """Of block number `block` of `blocks`: the rate rises linearly from 0."""
        rate = self.path * block / (blocks - 1) if blocks > 1 else 0
        if rate <= 0:
            return nn.Identity()
        return (DropPath if self.mode == "sample" else BranchDrop)(self.draws, rate)
