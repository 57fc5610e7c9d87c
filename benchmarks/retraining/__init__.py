"""How many days to train on, and how often."""
