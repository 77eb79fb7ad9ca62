"""Files under fire: small models and data files, changed at random, in processes with limits.

    python -m benchmarks.fuzz models --count 20000
    python -m benchmarks.fuzz data --count 20000

Every case has a number, from which with the seed it can be made again (`--only NUMBER`). Of each it is said how it ended: `ok`, `refused` (an error of
`pysurgeon.errors`), or one of what must not happen: another exception, with the place that it came from, a signal, more than 20 s of the processor, or more
than 1 GB beyond what the file takes. Needs `/proc`. Exit status 1 if any of these happened.
"""
