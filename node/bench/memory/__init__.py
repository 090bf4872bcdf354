"""`murmur bench memory`: the memory plan of a text policy beside what it takes."""
