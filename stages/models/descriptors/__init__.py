"""Descriptors: a picture as one vector, so that copies of a picture lie close together."""
