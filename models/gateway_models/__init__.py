"""Model bundles, and the code that makes and judges them.

waves, air, street, shots, fireworks, bangs     sound from nothing, and where it travels
scene                                           a street for the demo
labelled, recordings, augment                   folders of recordings, and what else they might sound like
triggers, cutting, windows, build               labelled windows, cut by the gateway's own onset finder
network, batches, lessons, train, baseline      the networks, what they learn from, and what they must beat
runfolder, crossval, onsets, folds, ends        cross-validation by places
calibrate, thresholds                           from what networks say to what is told
quantise, tflite, tflitefile, export, pack      files for a box's runtimes, without TensorFlow; the bundle
make, card, plots                               the shipped bundles
hearing, judgement, scores, report, pictures    what a bundle is worth, through a box's own path: `evaluate`
foldjudge, foldtable                            the same for the folds
streetalarms                                    what they make of a street without shots
learn, candidate, better, ownrecordings         a model for a place, from its own recordings
"""
