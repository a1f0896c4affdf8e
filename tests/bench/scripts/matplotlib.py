import io
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
def main():
    figure, axes = plt.subplots(figsize=(3, 2))
    axes.plot([1, 2, 3, 4], [1, 4, 9, 16])
    axes.set_title("squares")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    return {"bytes": len(buffer.getvalue())}
