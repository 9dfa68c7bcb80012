"""H.266: parameter sets, picture and slice headers, element by element, and what they say of the pictures."""
