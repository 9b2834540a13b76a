"""From image files to the manifest, the splits and the packed pixels that every later step reads."""
