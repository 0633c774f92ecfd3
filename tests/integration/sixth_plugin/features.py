import numpy as np


def features(ct):
    """Value and mean of the neighbours along each axis, shape (slices, rows, columns, 2)."""
    values = np.clip(ct.array.astype(np.float32), -200, 200) / 100
    mean = values
    for axis in range(3):
        mean = (np.roll(mean, 1, axis) + mean + np.roll(mean, -1, axis)) / 3
    return np.stack([values, mean], axis=-1)
