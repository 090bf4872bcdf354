"""`murmur bench families`: the paths that today's model families take through the text policy."""
