"""A small internet on one machine: hosts in network namespaces, lossy and slow lines, partitions, NATs."""
