"""Worker processes: all that a text, a parameter or own code may make slow runs in one of them, within bounds."""
