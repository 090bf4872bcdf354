"""Models in and out: checks before and after a load, and libraries' errors in our own words."""
