import numpy as np

def main():
    a = np.arange(10)
    print("hi")
    return {"sum": int(a.sum()), "mean": float(a.mean())}
