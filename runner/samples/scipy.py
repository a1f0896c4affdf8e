# What a first scipy script needs: statistics, optimisation, integration, linear algebra.
import numpy as np
from scipy import integrate, linalg, optimize, stats


def main():
    best = optimize.minimize(lambda x: (x[0] - 1) ** 2, [0.0])
    area, _ = integrate.quad(np.sin, 0, np.pi)
    fit = stats.linregress([1, 2, 3], [2, 4, 6.1])
    return {"x": float(best.x[0]), "area": float(area), "slope": float(fit.slope),
            "det": float(linalg.det(np.eye(3)))}
