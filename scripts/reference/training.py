"""Fixtures of schedules, optimisers, clipping and the random generator."""

import math

import numpy as np
import torch
from torch import nn

from reference.draws import philox
from reference.fixture import Fixture, Source, yaml

ARTICLE_LOSS = [1.554635, 1.153438, 0.958730, 0.806689, 0.670009, 0.539732, 0.406309, 0.298231,
                0.212923, 0.168813, 0.136068, 0.123808, 0.104265, 0.101227, 0.084963, 0.086780,
                0.079616, 0.077545, 0.079376, 0.064538]
BUMPY_LOSS = [2.0, 1.5, 1.6, 1.49999, 1.7, 1.8, 1.4, 1.41, 1.42, 1.43, 1.44, 1.45, 1.3999, 1.39985,
              1.2, 1.2, 1.2, 1.2, 1.2, 1.2, 1.1, 5.0, 4.0, 3.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0]
FLAT_LOSS = [1.0] * 200


def rates(base, make, values):
    """The rate of each epoch, read before the schedule steps at its end."""
    optimiser = torch.optim.SGD([torch.zeros(1, dtype=torch.float64, requires_grad=True)], lr=base)
    schedule, rate = make(optimiser), []
    for value in values:
        rate.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step(*([] if value is None else [value]))
    return rate


def schedules():
    f = Fixture("schedules")
    lr = torch.optim.lr_scheduler
    for name, base, factor, patience, floor, losses in (
            ("article", 1e-4, 0.94, 1, 1e-6, ARTICLE_LOSS),
            ("bumpy", 1e-4, 0.94, 1, 1e-6, BUMPY_LOSS),
            ("flat", 1e-4, 0.94, 1, 1e-6, FLAT_LOSS),
            ("half", 0.03, 0.5, 5, 1e-5, FLAT_LOSS[:60]),
            ("eager", 0.01, 0.1, 0, 0.0, BUMPY_LOSS)):
        f.put(f"plateau.{name}.loss", losses, np.float64)
        f.put(f"plateau.{name}.lr", rates(base, lambda o: lr.ReduceLROnPlateau(
            o, "min", factor, patience, threshold=1e-4, min_lr=floor), losses), np.float64)
        for key, value in (("base", base), ("factor", factor), ("patience", patience),
                           ("threshold", 1e-4), ("min_lr", floor)):
            f.meta[f"plateau.{name}.{key}"] = repr(value)
    f.put("multistep.lr", rates(1e-3, lambda o: lr.MultiStepLR(o, [3, 5, 12], 0.5), [None] * 16),
          np.float64)
    f.meta.update({"multistep.base": "1e-3", "multistep.milestones": "[3, 5, 12]",
                   "multistep.gamma": "0.5"})
    f.put("cosine.lr", rates(1e-3, lambda o: lr.CosineAnnealingLR(o, 20, 1e-5), [None] * 20),
          np.float64)
    f.meta.update({"cosine.base": "1e-3", "cosine.min_lr": "1e-5", "cosine.length": "20"})
    f.put("warmup_cosine.lr", rates(
        1e-3, lambda o: lr.SequentialLR(o, [lr.LinearLR(o, 0.1, 1, 5),
                                            lr.CosineAnnealingLR(o, 20, 1e-5)], [5]), [None] * 25),
          np.float64)
    f.meta.update({"warmup_cosine.base": "1e-3", "warmup_cosine.from": "1e-4",
                   "warmup_cosine.min_lr": "1e-5", "warmup_cosine.warmup": "5",
                   "warmup_cosine.length": "25"})
    formula = [1e-4 + 9e-4 * t / 5 if t < 5 else
               1e-5 + 0.5 * 9.9e-4 * (1 + math.cos(math.pi * (t - 5) / 20)) for t in range(25)]
    assert np.allclose(f.tensors["warmup_cosine.lr"], formula, rtol=1e-12, atol=0)
    assert set(f.tensors["plateau.article.lr"]) == {1e-4}
    return f


def optimisers():
    f = Fixture("optim")
    s = Source("optim")
    start, gradients = s.normal(7), s.normal(10, 7)
    gradients[:, 6] *= 1e-6
    gradients[3, 2] = 0
    gradients = gradients.float().double()
    f.put("w", start, np.float64)
    f.put("g", gradients, np.float64)
    for name, kind, options in (
            ("sgd", "SGD", {"lr": 0.1}),
            ("sgd_momentum", "SGD", {"lr": 0.05, "momentum": 0.9}),
            ("sgd_nesterov", "SGD",
             {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}),
            ("adam", "Adam", {"lr": 1e-3, "betas": (0.5, 0.999), "eps": 1e-8}),
            ("adam_decay", "Adam",
             {"lr": 1e-2, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}),
            ("adamw", "AdamW",
             {"lr": 1e-2, "betas": (0.9, 0.95), "eps": 1e-6, "weight_decay": 0.05})):
        w = start.clone().requires_grad_(True)
        optimiser, trace = getattr(torch.optim, kind)([w], **options), []
        for g in gradients:
            w.grad = g.clone()
            optimiser.step()
            trace.append(w.detach().clone())
        f.put(f"{name}.w", torch.stack(trace), np.float64)
        for key, value in options.items():
            f.meta[f"{name}.{key}"] = yaml(value)
    for name, limit in (("clip", 1.0), ("no_clip", 100.0)):
        parts = [s.normal(5, 3), s.normal(4), s.normal(1)]
        given = [torch.zeros_like(p).requires_grad_(True) for p in parts]
        for i, (p, g) in enumerate(zip(given, parts)):
            p.grad = g.clone()
            f.put(f"{name}.g{i}", g, np.float64)
        f.put(f"{name}.norm", nn.utils.clip_grad_norm_(given, limit).reshape(1), np.float64)
        f.meta[f"{name}.max_norm"] = str(limit)
        for i, p in enumerate(given):
            f.put(f"{name}.clipped{i}", p.grad, np.float64)
    return f


PHILOX = """\
# Philox4x32-10: the published known answers of Random123 (its file kat_vectors).
# counter (4 words)  key (2 words)  expected (4 words), hexadecimal
00000000 00000000 00000000 00000000  00000000 00000000  6627e8d5 e169c58d bc57ac4c 9b00dbd8
ffffffff ffffffff ffffffff ffffffff  ffffffff ffffffff  408f276d 41c83b0e a20bc7c6 6d5451fd
243f6a88 85a308d3 13198a2e 03707344  a4093822 299f31d0  d16cfe09 94fdcceb 5001e420 24126ea1
"""


def check_philox():
    for line in PHILOX.splitlines():
        if not line.startswith("#"):
            words = [int(word, 16) for word in line.split()]
            assert philox(words[:4], words[4:6]) == words[6:], line
