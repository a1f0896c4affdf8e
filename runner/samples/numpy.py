# What a first numpy script needs: arrays, arithmetic, linear algebra, random numbers.
import numpy as np


def main():
    a = np.arange(12, dtype=float).reshape(3, 4)
    b = a @ a.T + np.eye(3)
    draws = np.random.default_rng().normal(size=16)
    print(a.sum(), np.linalg.inv(b).shape, str(a[:2]))
    return {"sum": a.sum(), "mean": float(np.mean(draws)), "max": np.int64(a.max()),
            "where": np.where(a > 3, 1, 0).tolist()}
