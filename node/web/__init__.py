"""`murmur dashboard`: a local web page on one run."""
