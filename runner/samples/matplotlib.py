# What a first plot needs: a figure, axes, text, and its encoding as PNG.
import io

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager


def main():
    fig, ax = plt.subplots()
    x = np.linspace(0, 6, 50)
    ax.plot(x, np.sin(x), label="sin")
    ax.bar([1, 2, 3], [3, 1, 2], alpha=0.3)
    ax.set_title("a sample")
    ax.legend()
    out = io.BytesIO()
    fig.savefig(out, format="png")
    plt.close(fig)
    font_manager._get_font.cache_clear()  # cached fonts hold files open, which no fork may have
    return len(out.getvalue())
