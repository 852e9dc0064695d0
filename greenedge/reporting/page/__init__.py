"""`greenedge report`: results as one HTML page that needs no network and computes no number itself."""
