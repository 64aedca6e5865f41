"""Hardware in the loop: emulated sensors that speak their real protocols, benches, the demo."""
