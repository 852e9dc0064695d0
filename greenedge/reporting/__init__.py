"""Results as tables, sentences, figures, JSON and CSV."""
