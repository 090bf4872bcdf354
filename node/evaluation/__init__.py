"""A model judged on reserved problems: unbiased pass@k with intervals, paired with what it was trained from."""
