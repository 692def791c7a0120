"""How good pictures are as a set: FID, KID, precision and recall, the classifier score, each from parts that merge."""
