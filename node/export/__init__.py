"""A trained model taken out of its run: an ordinary Hugging Face folder with a card that says how it came to be."""
