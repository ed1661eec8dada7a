/*
 * A graph in the words of TensorBoard's graph tab: a message tensorflow.GraphDef with one NodeDef a
 * node and parameter.
 *
 * Names are the graph's, with "/" for "." so that layers fold into blocks; ops are those of
 * ops/ops.def, and "input" and "parameter". Attributes: `_output_shapes`, `dtype`, and `macs` where
 * an op multiplies.
 */
#ifndef VT_GRAPH_GRAPHDEF_H
#define VT_GRAPH_GRAPHDEF_H

#include "base/text.h"
#include "graph/graph.h"

void vt_graphdef_write(const vt_graph *graph, vt_text *message);

#endif
