"""Models in and out: what is checked before and after a load, and how libraries' errors are told."""
