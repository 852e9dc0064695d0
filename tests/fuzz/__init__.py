"""Seeded damage to every kind of file that greenedge reads: each case is refused in a sentence, or read rightly."""
