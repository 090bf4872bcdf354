"""Rewards for images by published reward models, a module each. None was tried on its real weights."""
