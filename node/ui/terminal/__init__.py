"""Words as a terminal takes them: lines that break between words, and help that is told whole."""
