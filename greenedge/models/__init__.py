"""Networks as lists of named blocks, with exits attached after any of them."""
