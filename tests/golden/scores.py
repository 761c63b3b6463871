"""scores.csv: what scikit-learn makes of 1,000 random cases, and NumPy of the competition's metric.

The cases come from splitmix64 as in README.md, so that the Rust side makes the same ones:
z of the name `score.{case}`, L = the number of levels (few levels = many ties)
  n = 8 + z[0] % 200, L = (1, 3, 10, 1000, 2^24)[z[1] % 5], percent = 5 + z[2] % 90
  label[i] = z[3 + i] % 100 < percent, p[i] = (z[3 + n + i] % (L + 1)) / L
The competition's metric is that of the exams n // 8, whose eight targets are p and label in order.
"""
import sys
import numpy as np
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score, roc_curve

M = 2**64 - 1


def splitmix(name, n):
    h = 0xCBF29CE484222325
    for b in name.encode():
        h = ((h ^ b) * 0x100000001B3) & M
    for i in range(1, n + 1):
        z = (h + i * 0x9E3779B97F4A7C15) & M
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & M
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M
        yield z ^ (z >> 31)


def competition(y, p):
    y, p = y.reshape(-1, 8), np.clip(p.reshape(-1, 8), 2.0**-52, 1 - 2.0**-52)
    w = np.where(y == 1, [2.0] * 7 + [14.0], [1.0] * 7 + [7.0])
    loss = -(y * np.log(p) + (1 - y) * np.log(1 - p))
    return np.mean((w * loss).sum(axis=1) / w.sum(axis=1))


def bins(y, p):
    at = np.minimum((p * 10).astype(int), 9)
    off = [abs(p[at == b].sum() - y[at == b].sum()) for b in range(10)]
    return sum(off) / len(y)


print("case,auc,average_precision,sensitivity,log_loss,ece,competition")
for case in range(1000):
    z = list(splitmix(f"score.{case}", 3 + 2 * 208))
    n, levels, percent = 8 + z[0] % 200, (1, 3, 10, 1000, 2**24)[z[1] % 5], 5 + z[2] % 90
    y = np.array([int(x % 100 < percent) for x in z[3 : 3 + n]])
    p = np.array([(x % (levels + 1)) / levels for x in z[3 + n : 3 + 2 * n]])
    both = 0 < y.sum() < n
    row = ["", "", ""]
    if both:
        fpr, tpr, _ = roc_curve(y, p, drop_intermediate=False)
        row = [roc_auc_score(y, p), average_precision_score(y, p), tpr[fpr <= 0.1 + 1e-9].max()]
    whole = n // 8 * 8
    row += [log_loss(y, p, labels=[0, 1]), bins(y, p), competition(y[:whole], p[:whole])]
    print(case, *[x if x == "" else repr(float(x)) for x in row], sep=",")
print("scikit-learn", __import__("sklearn").__version__, file=sys.stderr)
