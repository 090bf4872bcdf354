"""`murmur tasks`: what there is to train on, and own questions tried before they are."""
