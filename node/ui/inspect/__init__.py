"""Verbs that look into runs: rollouts, runs, stats, replay. They read the store and import no model."""
