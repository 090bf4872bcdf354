"""A trained model as others read it: a Hugging Face folder, and a GGUF file."""
