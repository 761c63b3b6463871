#!/usr/bin/env python3
"""Reads a run's folder: where it stands, its epochs, and the loss of its out-of-fold predictions.

    python3 examples/read_run.py runs/latest

Python 3.8 or newer, standard library only. The folder's files are described in docs/src/run-folder.md.
"""
import csv, json, math, pathlib, sys


def figure(value):
    """A number of the journal: JSON has none that is not finite, so "nan", "inf" and "-inf" stand for them."""
    return float("nan") if value is None else float(value)


def log_loss(label, probability):
    return -math.log(max(probability if label else 1 - probability, 1e-15))


def journal(path):
    """The events, oldest first. The last line of a run that is being trained may be incomplete."""
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            try:
                yield json.loads(line)
            except ValueError:
                print(f"skipped a line of {path.name} that is not JSON", file=sys.stderr)


def main(folder):
    # A run whose folds several processes train has a folder of this kind for each fold.
    folds = [path for path in (folder / "folds").glob("*") if path.name.isdigit()]
    folders = sorted(folds, key=lambda path: int(path.name)) or [folder]
    for state in (folder / "state.json" for folder in folders):
        if not state.exists():
            continue
        status = json.loads(state.read_text(encoding="utf-8"))
        print(f"{state.parent.name}: {status['state']} after {status['seconds']:.0f} s")
        for fold in status["folds"]:
            print(f"  fold {fold['fold']}: {fold['state']}, {fold['epoch']} of {status['epochs']} epochs done")

    steps = 0
    journals = [path for path in (folder / "journal.jsonl" for folder in folders) if path.exists()]
    for event in (event for path in journals for event in journal(path)):
        if event["type"] == "step":
            steps += 1
        elif event["type"] == "epoch":
            at, best = event["at"], " (best)" if event["is_best"] else ""
            print(
                f"fold {at['fold']} epoch {at['epoch']}: training loss {figure(event['train_loss']):.4f}, "
                f"validation loss {figure(event['valid_loss']):.4f}, slice AUC {figure(event['slice_auc']):.3f}{best}"
            )
    print(f"{steps} steps")

    predictions = folder / "evaluation" / "oof.csv"  # written by `rsna-tui evaluate`
    if predictions.exists():
        with open(predictions, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        losses = [log_loss(int(row["patient_overall"]), float(row["patient_overall_prob"])) for row in rows]
        if losses:
            print(f"log loss of the patient over {len(rows)} studies: {sum(losses) / len(losses):.4f}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
