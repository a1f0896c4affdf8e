from scipy import stats

def main():
    fit = stats.linregress([1, 2, 3], [2, 4, 6.1])
    print("hi")
    return {"slope": float(fit.slope)}
