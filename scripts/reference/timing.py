"""What the timing scripts (bench-torch, gpu-bench) have in common, with nothing but Python itself:
Vitrine's commands for whole AdamW steps without what draws at random, and spreads.
"""

import pathlib
import re
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SAME_WORK = ["optim.name=adamw", "optim.lr=1e-4", "optim.weight_decay=0.05", "optim.clip_norm=0",
             "train.label_smoothing=0"]
RATES = ["embed_drop", "attn_drop", "proj_drop", "mlp_drop", "drop_path"]


def vitrine(program, verb, experiment, batch, *more, changes=()):
    """What `vitrine VERB EXPERIMENT` prints, of the same work that PyTorch does."""
    changes = [f"train.batch={batch}", *SAME_WORK, *changes]
    if verb != "config":  # keys that the network does not have cannot be set
        resolved = vitrine(program, "config", experiment, batch)
        changes += [f"model.{rate}=0" for rate in RATES if re.search(rf"\b{rate}:", resolved)]
    command = [program, verb, experiment, "-q", *more]
    command += [word for change in changes for word in ("--set", change)]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout


def quartiles(values):
    """Median, lower and upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    q = statistics.quantiles(values, n=4, method="inclusive")
    return q[1], q[0], q[2]


def spread(q):
    return f"{q[0]:.2f} ({q[1]:.2f} to {q[2]:.2f})"
