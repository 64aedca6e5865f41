"""What only makes sense inside the kernel of a guest: gadgets, simulated lines, loopbacks."""
