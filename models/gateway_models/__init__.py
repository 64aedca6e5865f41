"""Model bundles, and the code that makes them: synthesis, training, export, evaluation."""
