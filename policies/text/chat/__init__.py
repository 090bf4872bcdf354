"""Chat templates: how a prompt is written for a model, and which tokens end its turn."""
