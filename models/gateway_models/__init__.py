"""Model bundles, and the code that makes them: synthesis, training, export, evaluation.

waves, shots, bangs, street     sound from nothing: pulses, what is mistaken for them, where it travels
scene                           a street for the demo
examples                        labelled windows, cut by the gateway's own onset and window
network, train, tflite          the net, its training (JAX), and its file without TensorFlow
evaluate, card, make            what it can do, in words, and the bundle
"""
