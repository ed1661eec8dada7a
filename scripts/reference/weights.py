"""Position tables brought to another size by timm, as when it loads a checkpoint."""

import torch
from timm.layers import resample_abs_pos_embed, resize_rel_pos_bias_table

from .fixture import Fixture, Source


def tables():
    f = Fixture("tables")
    for old, new, prefix in [(14, 8, 1), (8, 14, 1), (4, 8, 0), (7, 5, 0), (8, 3, 1), (1, 4, 0)]:
        table = Source(f"positions {old} {new}").normal(1, old * old + prefix, 5).float()
        resized = resample_abs_pos_embed(table, [new, new], [old, old], num_prefix_tokens=prefix)
        f.case({"kind": "positions", "old": old, "new": new, "prefix": prefix},
               table=table, resized=resized)
    for old, new in [(7, 4), (4, 7), (7, 8), (8, 7), (2, 4), (7, 3), (4, 1), (1, 3), (3, 12)]:
        table = Source(f"biases {old} {new}").normal((2 * old - 1) ** 2, 3).float()
        resized = resize_rel_pos_bias_table(table, (new, new), torch.Size([(2 * new - 1) ** 2, 3]))
        f.case({"kind": "biases", "old": 2 * old - 1, "new": 2 * new - 1, "prefix": 0},
               table=table, resized=resized)
    return f
