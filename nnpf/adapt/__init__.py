"""The sender's side: an update of a base filter, fitted to a clip and coded, for the segments where it pays.

After Santamaria et al. (EUVIP 2022) and Lam et al. (ACM MM 2020): what is learned is a small difference to a base that
the receiver has. The loss is distortion plus rate, so that what is learned costs little; what is decided, is decided by
real bytes and by the pictures that a receiver gets.
"""

from typing import Final

# Steps of gradient descent for a segment, where nothing else is asked for.
DEFAULT_STEPS: Final = 1200
