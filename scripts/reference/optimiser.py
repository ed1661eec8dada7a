"""The optimiser of an experiment, from its resolved `optim` mapping."""

import torch


def undecayed(name, p, kinds):
    what = {"bias": name.endswith("bias"), "norm": "norm" in name.split(".")[-2:][0],
            "pos_embed": name == "pos_embed", "cls_token": name == "cls_token",
            "rel_bias": name.endswith("relative_position_bias_table"), "one_d": p.ndim == 1}
    return any(what[kind] for kind in kinds)


def make_optimiser(net, optim, fused):
    lr, decay = float(optim["lr"]), float(optim.get("weight_decay") or 0)
    free, rest = [], []
    for name, p in net.named_parameters():
        (free if undecayed(name, p, optim.get("no_decay", [])) else rest).append(p)
    groups = [{"params": rest, "weight_decay": decay}, {"params": free, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if optim["name"] == "sgd":
        return torch.optim.SGD(groups, lr, momentum=float(optim.get("momentum", 0)),
                               nesterov=optim.get("nesterov", False), fused=fused)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[optim["name"]]
    return kind(groups, lr, betas=[float(b) for b in optim["betas"]], eps=float(optim["eps"]),
                fused=fused)
