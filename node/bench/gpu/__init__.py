"""`murmur bench gpu`: tests and benchmarks on an accelerator, in parts that resume."""
