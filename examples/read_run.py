#!/usr/bin/env python3
"""Reads a run's folder: where it stands, its epochs, and how sure its out-of-fold predictions are.

    python3 examples/read_run.py runs/latest

Python 3.8 or newer, standard library only. The folder's files are described in docs/src/run-folder.md.
"""
import csv, json, pathlib, sys


def figure(value):
    """A number of the journal: JSON has none that is not finite, so "nan", "inf" and "-inf" stand for them."""
    return float("nan") if value is None else float(value)


def journal(path):
    """The events, oldest first. The last line of a run that is being trained may be incomplete."""
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            try:
                yield json.loads(line)
            except ValueError:
                print(f"skipped a line of {path.name} that is not JSON", file=sys.stderr)


def main(folder):
    state = folder / "state.json"
    if state.exists():
        status = json.loads(state.read_text(encoding="utf-8"))
        print(f"{folder.name}: {status['state']} after {status['seconds']:.0f} s")
        for fold in status["folds"]:
            print(f"  fold {fold['fold']}: {fold['state']}, {fold['epoch']} of {status['epochs']} epochs done")

    steps = 0
    for event in journal(folder / "journal.jsonl"):
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
        print(f"{len(rows)} studies with out-of-fold predictions; columns: {', '.join(rows[0]) if rows else 'none'}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
