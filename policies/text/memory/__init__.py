"""Memory of a text policy, planned before anything heavy is loaded: what each part takes, and what would fit."""
