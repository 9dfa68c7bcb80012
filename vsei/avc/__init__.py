"""H.264: parameter sets and slice headers, element by element, and what they say of the pictures.

Views and layers other than the base (MVC, SVC, 3D-AVC) and data partitions B and C are out of reach.
"""
