import io
import matplotlib.pyplot as plt

def main():
    fig, ax = plt.subplots()
    ax.plot([1, 2, 3], [3, 1, 2])
    out = io.BytesIO()
    fig.savefig(out, format="png")
    plt.close(fig)
    return len(out.getvalue())
