"""The sections of a config, a module each: its keys, their bounds and what they mean."""
