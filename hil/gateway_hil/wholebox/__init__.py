"""The complete gateway and its hub on one bench, with what hangs between them and around them."""
