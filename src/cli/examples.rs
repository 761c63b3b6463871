//! Examples at the end of `--help`.

pub(super) const EXAMPLES: &str = "\
Examples:
  rsna-tui --demo                            see it work: no data needed, a few minutes
  rsna-tui --set data.dir=crops --set data.table=train_seg.csv
                                             train on your crops with the notebook's settings
  rsna-tui resume                            go on with the newest run where it was cut
  rsna-tui --detach, then rsna-tui attach    train in the background; watch and steer it
  rsna-tui report                            the newest run as one HTML file to send
  rsna-tui evaluate                          its folds' out-of-fold scores, oof.csv and curves
  rsna-tui predict --data crops --out p.csv  its folds together on new studies
  rsna-tui export --fold 0 --format onnx     the newest run's fold 0 for onnxruntime
  rsna-tui --folds 0,2 --no-tui > run.log    two folds, plain lines, for a batch system
  rsna-tui --devices cuda:0,cuda:1 …         folds side by side, a worker a GPU
  rsna-tui submit five --config config.toml --time 24:00:00 --gres gpu:1
                                             a Slurm job array, a task a fold
  rsna-tui --set train.epochs=2 --set model.backbone=convnext_atto
                                             change single settings (config.toml lists them all)
  rsna-tui check --set train.batch_size=16   are settings and data right, does it fit into memory?
  rsna-tui bench --set train.batch_size=2 --set data.image_size=64
                                             how long does a step take here, and which part of it?
  rsna-tui selftest                          does this machine compute right, and how fast?
  rsna-tui phantom DIR --studies 8           write made-up studies in the notebook's layout
  rsna-tui augment --set data.dir=phantom --study phantom.0000 --out sheets
                                             see a study as training sees it, as a PNG

Exit codes: 0 done, 1 a fold or the run failed, predict left studies out or selftest found an error,
2 bad input, 75 preempted (start it again with resume), 130 stopped before its end, 143 by SIGTERM,
3 another process took the worker's fold over.";
