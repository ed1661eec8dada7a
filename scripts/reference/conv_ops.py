"""Fixtures of convolutions, computed by PyTorch in float64."""

import torch.nn.functional as F

from reference.fixture import Fixture, Source, grads, wants

# kernel, stride, pad, groups, batch, height, width, channels, outputs, bias
DENSE = (
    (3, 1, 1, 1, 2, 8, 8, 3, 16, 0),
    (3, 2, 1, 1, 3, 9, 7, 3, 24, 1),
    (1, 1, 0, 1, 2, 5, 4, 16, 24, 1),
    (1, 2, 0, 1, 2, 5, 6, 24, 16, 0),
    (1, 3, 1, 1, 1, 4, 7, 3, 5, 1),
    (3, 1, 0, 1, 1, 6, 9, 24, 16, 1),
    (3, 1, 1, 1, 3, 4, 4, 16, 40, 0),
    (3, 3, 2, 1, 2, 10, 7, 16, 3, 1),
    (3, 2, 1, 2, 2, 7, 8, 12, 32, 1),
    (3, 1, 1, 16, 2, 5, 6, 16, 16, 0),
    (5, 1, 2, 1, 2, 6, 5, 16, 8, 0),
    (5, 2, 4, 2, 1, 8, 11, 6, 10, 1),
    (5, 3, 0, 1, 1, 11, 8, 3, 16, 1),
    (7, 1, 3, 1, 1, 9, 8, 3, 16, 0),
    (7, 2, 3, 3, 2, 9, 12, 12, 12, 1),
    (3, 1, 4, 1, 1, 3, 2, 5, 7, 1),
    (2, 2, 0, 1, 2, 6, 7, 8, 12, 1),
    (7, 1, 3, 1, 1, 2, 3, 5, 17, 1),
)

# kernel, stride, pad, batch, height, width, channels
DEPTHWISE = (
    (3, 1, 1, 2, 8, 8, 16),
    (3, 2, 1, 3, 9, 7, 24),
    (3, 1, 0, 1, 6, 12, 3),
    (3, 2, 1, 2, 8, 8, 48),
    (3, 3, 2, 1, 10, 7, 17),
    (1, 2, 1, 2, 5, 6, 16),
    (5, 1, 2, 2, 7, 13, 24),
    (5, 2, 3, 1, 9, 8, 16),
    (7, 1, 3, 1, 5, 11, 33),
    (7, 3, 5, 1, 8, 4, 3),
    (3, 1, 4, 1, 2, 3, 16),
    (5, 3, 0, 3, 6, 9, 1),
)


def run_case(f, scalars, x, w, b, seed):
    """x (B, H*W, C) as the map of the case's size, through a convolution and back."""
    wants(x, w, *([b] if b is not None else []))
    maps = x.view(len(x), scalars["height"], scalars["width"], -1).permute(0, 3, 1, 2)
    y = F.conv2d(maps, w, b, scalars["stride"], scalars["pad"], 1, scalars["groups"])
    y = y.flatten(2).transpose(1, 2)
    dy = seed.normal(*y.shape)
    given = {"x": x, "w": w} if b is None else {"x": x, "w": w, "b": b}
    back = grads(y, dy, *given.values())
    f.case(scalars, **given, dy=dy, y=y, **{"d" + name: d for name, d in zip(given, back)})


def op_conv():
    f = Fixture("ops/conv", op="convolution with zeros around the map")
    for kernel, stride, pad, groups, batch, height, width, chans, outs, bias in DENSE:
        s = Source(f"conv {kernel} {stride} {pad} {groups} {height} {width} {chans}")
        x = s.normal(batch, height * width, chans)
        fan_in = chans // groups * kernel * kernel
        w = s.normal(outs, chans // groups, kernel, kernel, std=fan_in ** -0.5)
        b = s.normal(outs) if bias else None
        run_case(f, {"batch": batch, "height": height, "width": width, "stride": stride,
                     "pad": pad, "groups": groups, "bias": bias}, x, w, b, s)
    return f


def op_dwconv():
    f = Fixture("ops/dwconv", op="depthwise convolution with zeros around the map")
    for kernel, stride, pad, batch, height, width, chans in DEPTHWISE:
        s = Source(f"dwconv {kernel} {stride} {pad} {height} {width} {chans}")
        x, w = s.normal(batch, height * width, chans), s.normal(chans, 1, kernel, kernel)
        run_case(f, {"batch": batch, "height": height, "width": width, "stride": stride,
                     "pad": pad, "groups": chans}, x, w, None, s)
    return f


def all_convs():
    return [op_conv(), op_dwconv()]
