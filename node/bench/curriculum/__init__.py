"""`murmur bench curriculum`: whether a policy leaves zero on what is too hard for it, by way of easier problems."""
