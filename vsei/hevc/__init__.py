"""H.265: parameter sets and slice headers, element by element, and what they say of the pictures.

Layers other than the base layer (SHVC, MV-HEVC, 3D-HEVC, alpha) are out of reach: their NAL units stay bytes, and there
are no pictures of them.
"""
