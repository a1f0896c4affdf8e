# What a first pandas script needs: a frame, selection, grouping, statistics, text.
import io

import numpy as np
import pandas as pd


def main():
    df = pd.DataFrame({"x": np.arange(1, 11), "y": np.arange(1, 11) ** 2, "k": list("ab") * 5})
    by = df.groupby("k")[["x", "y"]].mean()
    print(df.head(), df.describe().to_string())
    merged = df.merge(by.reset_index(), on="k", suffixes=("", "_mean"))
    back = pd.read_csv(io.StringIO(merged.to_csv(index=False)))
    dates = pd.date_range("2024-01-01", periods=3, freq="D")
    return {"x": int(df["x"].sum()), "c": float(df["x"].corr(df["y"])), "rows": len(back),
            "last": str(dates[-1]), "records": by.to_dict()}
