"""Chat templates: prompts as a model reads them, and the tokens that end its turns."""
