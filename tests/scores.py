"What tests of scores share: probabilities with a truth drawn from them, and a comparison of numbers."
import numpy as np
import torch

AVERAGES = ['samples', 'micro', 'macro', 'weighted', None]

def draw(n=300, c=6, seed=0, levels=None, dtype=torch.float32):
    "Probabilities and the truth drawn from them, so calibrated; with `levels`, few different values and so many ties"
    g = torch.Generator().manual_seed(seed)
    probs = torch.rand(n, c, generator=g, dtype=dtype)**torch.linspace(.3, 4, c, dtype=dtype)
    if levels: probs = (probs*levels).round()/levels
    return probs, torch.rand(n, c, generator=g, dtype=dtype) < probs

def close(a, b, tol=1e-6): np.testing.assert_allclose(np.asarray(a, float), np.asarray(b, float), atol=tol, rtol=0)
