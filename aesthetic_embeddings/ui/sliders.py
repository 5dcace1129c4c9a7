"""How settings are shown as sliders, whatever draws them."""

from __future__ import annotations

import math

#: Lowest, highest and step of what is offered, where that is less than what is accepted.
RANGES = {"steps": (0, 50, 1), "epsilon": (-5, -2, 0.05), "preservation": (0, 10, 0.1), "last_layers": (0, 32, 1)}
#: Label and help, where they are not the table's: the slider of the step size is logarithmic.
LABELS = {"epsilon": "Epsilon, as a power of ten"}
INFO = {"epsilon": "-4 is 0.0001, as published; -5 the weakest, -2 far too strong for adam."}


def from_slider(value: float) -> float:
    """Epsilon from the slider, which is logarithmic: -4 means 1e-4. A positive number is epsilon itself."""
    if not isinstance(value, (int, float)) or value >= 0:
        return value  # Settings tells what is wrong with anything else
    digits = 2 if round(value, 2) == value else 12  # the slider's stops are round numbers
    return float(f"{10**value:.{digits - 1}e}")


def exponent(epsilon: float) -> float:
    """Where the slider stands for this epsilon; epsilon itself where it is no negative power of ten."""
    if not 0 < epsilon < 1:
        return epsilon
    exact = math.log10(epsilon)
    stop = round(exact, 2)
    return next((value for value in (stop, exact) if from_slider(value) == epsilon), epsilon)
