"""Fixture files and the random numbers that go into them."""

import json
import struct
import zlib

import numpy as np
import torch

PEAK = 0.3  # the largest attention probability of a query must average above this


class Fixture:
    """One safetensors file: named tensors in order, and text values beside them."""

    def __init__(self, name, **meta):
        self.name = name
        self.tensors = {}
        self.meta = {k: str(v) for k, v in meta.items()}
        self.meta["torch"] = torch.__version__.split("+")[0]
        self.cases = 0

    def put(self, name, value, dtype=np.float32):
        if isinstance(value, torch.Tensor):
            value = value.detach().numpy()
        value = np.ascontiguousarray(value, dtype=dtype)
        assert np.isfinite(value).all(), (self.name, name)
        assert name not in self.tensors, (self.name, name)
        self.tensors[name] = value

    def case(self, scalars, **tensors):
        for key, value in scalars.items():
            self.meta[f"{self.cases}.{key}"] = str(value)
        for key, value in tensors.items():
            if value is not None:
                self.put(f"{self.cases}.{key}", value)
        self.cases += 1
        self.meta["cases"] = str(self.cases)

    def bytes(self):
        header, at = {"__metadata__": dict(sorted(self.meta.items()))}, 0
        for name, value in self.tensors.items():
            kind = {4: "F32", 8: "F64"}[value.itemsize]
            header[name] = {"dtype": kind, "shape": list(value.shape),
                            "data_offsets": [at, at + value.nbytes]}
            at += value.nbytes
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text + b"".join(
            value.tobytes() for value in self.tensors.values())


def read_tensors(data):
    """The inverse of Fixture.bytes, for --check."""
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__")
    tensors = {}
    for name, row in header.items():
        first, last = row["data_offsets"]
        kind = {"F32": np.float32, "F64": np.float64}[row["dtype"]]
        tensors[name] = np.frombuffer(data[8 + size + first:8 + size + last], kind).reshape(
            row["shape"])
    return tensors



class Source:
    """Normal numbers from a name, float32 values held in float64 tensors."""

    def __init__(self, name):
        self.rng = np.random.default_rng(zlib.crc32(name.encode()))

    def normal(self, *shape, std=1.0, mean=0.0):
        value = self.rng.standard_normal(shape) * std + mean
        return torch.from_numpy(value.astype(np.float32).astype(np.float64))

    def uniform(self, *shape, low=0.0, high=1.0):
        value = self.rng.uniform(low, high, shape)
        return torch.from_numpy(value.astype(np.float32).astype(np.float64))

    def integers(self, n, *shape):
        return torch.from_numpy(self.rng.integers(0, n, shape))


def grads(y, dy, *inputs):
    return torch.autograd.grad(y, inputs, dy)


def wants(*values):
    for value in values:
        value.requires_grad_(True)


def check_peak(p, where, real=None):
    """p (..., keys): rows of real queries must be peaked on average."""
    top = p.detach().amax(dim=-1)
    top = top[top > 0] if real is None else top[real]
    assert top.mean() > PEAK, f"{where}: largest probability averages {top.mean():.3f}"
    return top.mean().item()


def yaml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k}: {yaml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(yaml(v) for v in value) + "]"
    return str(value).lower()
