"""Valid graphs as people write them, put together at random, and everything that can be done with them judged from outside.

    python -m benchmarks.graphs [--count 200] [--seed 0] [--first 0] [--most 12] [--only NUMBER] [--keep FOLDER]

A graph is written with `onnx.helper` alone, opsets 7 to 22: dense, recurrent and convolutional layers, attention, gates, residual branches,
shapes computed in the graph, functions, `If`, `Loop` and `Scan` that capture outer values, operands left out, shared weights, weights that are inputs or
outputs, empty tensors, several inputs and outputs, open batches and lengths. The generator knows nothing of pysurgeon. It is loaded, and at up to `--most`
sites (all of them: 0) everything that `inspect` offers is done. Judge is onnxruntime with its optimizations off, on the bytes of the file and on those of
what was made of it, at several batch sizes and lengths and for small and large input:

- loading and saving changes nothing; names, types and shapes of what goes in and out, metadata and opsets stay;
- what is exact gives the same to 1e-5 (or to what the file itself makes of the rounding of its input); what takes it back, too;
- what is not exact gives finite outputs of the same shapes, and errs at its readers by no more than it predicted (see `checking.FACTOR`);
- what `inspect` offers is not refused; nothing ends in an error that is none of pysurgeon's;
- ten operations one after another keep all of this.

Every graph has a number, from which with the seed it is made again. Exit status 1 if anything was wrong.
"""
