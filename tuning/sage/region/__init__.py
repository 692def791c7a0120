"""Is a failure found an isolated point: how far it reaches, what it is connected to, and how probable it is."""
