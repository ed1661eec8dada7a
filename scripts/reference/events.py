"""TensorBoard's event files, written by its own code; tests/test_tfevents.c makes the same."""

import os
import tempfile

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.types_pb2 import DT_FLOAT
from tensorboard.summary.writer.record_writer import RecordWriter


def file_of(events):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "events")
        with open(path, "wb") as file:
            writer = RecordWriter(file)
            for event in events:
                writer.write(event.SerializeToString(deterministic=True))
            writer.flush()
        with open(path, "rb") as file:
            return file.read()


def scalars(wall_time, step, values):
    event = Event(wall_time=wall_time, step=step)
    for tag, number in values:
        value = event.summary.value.add()
        value.tag = tag
        value.simple_value = number
    return event


def version(wall_time):
    return Event(wall_time=wall_time, file_version="brain.Event:2")


def odd_numbers():
    """Zeros, large steps, numbers that are not finite, a long tag and one of other letters."""
    nan = float("nan")
    return [
        version(0),
        scalars(0, 0, [("zero", 0.0)]),
        scalars(1.5, 1, [("a", 1 / 3), ("b", -1e30), ("c", 1e-45)]),
        scalars(1795262983.25, 2**40 + 5, [("Learning Rate", 3e-4)]),
        scalars(-1.0, 127, [("\u00e9\u4e2d", float("inf")), ("n", nan)]),
        scalars(2.0, 128, [("long/" * 60, 7.0)]),
    ]


def add_node(graph, name, op, inputs, shape, macs=0):
    node = graph.node.add(name=name, op=op, input=inputs)
    dims = node.attr["_output_shapes"].list.shape.add()
    for size in shape:
        dims.dim.add(size=size)
    node.attr["dtype"].type = DT_FLOAT
    if macs:
        node.attr["macs"].i = macs


def small_graph():
    """Two layers; the second norm has the first one's name."""
    graph = GraphDef()
    add_node(graph, "images", "input", [], [2, 5, 4])
    add_node(graph, "fc/weight", "parameter", [], [300, 4])
    add_node(graph, "fc", "linear", ["images", "fc/weight"], [2, 5, 300], 2 * 5 * 300 * 4)
    add_node(graph, "norm/weight", "parameter", [], [300])
    add_node(graph, "norm/bias", "parameter", [], [300])
    inputs = ["norm/weight", "norm/bias"]
    add_node(graph, "norm", "layernorm", ["fc", *inputs], [2, 5, 300])
    add_node(graph, "norm_1", "layernorm", ["norm", *inputs], [2, 5, 300])
    graph.versions.producer = 22
    event = Event(wall_time=3.0)
    event.graph_def = graph.SerializeToString(deterministic=True)
    return [version(3.0), event]


def made_run(epochs=2, steps=3):
    """The run of tests/support/make_run.h with a validation part. It has no clock of its own: an
    epoch takes a second."""
    events = [version(0)]
    last = epochs * steps
    for epoch in range(1, epochs + 1):
        for i in range(1, steps + 1):
            step = (epoch - 1) * steps + i
            events.append(scalars(epoch - 1 + i / steps, step, [
                ("Steps/Loss", 2 - step / last), ("Steps/Acc", step / last),
                ("Steps/Learning Rate", 0.001 / step), ("Steps/Gradient Norm", step)]))
        for split in ("val", "test"):
            events.append(scalars(epoch, epoch, [(f"Loss/{split}", 3 / epoch),
                                                 (f"Acc/{split}", 0.5 - 0.25 / epoch)]))
        done = epoch * steps
        events.append(scalars(epoch, epoch, [
            ("Loss/train", 2 - done / last), ("Acc/train", done / last),
            ("Learning Rate", 0.001 / done)]))
    return events


def event_files():
    return {"events/numbers.tfevents": file_of(odd_numbers()),
            "events/graph.tfevents": file_of(small_graph()),
            "events/run.tfevents": file_of(made_run())}
