"""`murmur dashboard`: a local, read-only web page on one run."""
