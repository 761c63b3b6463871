"""Prints the scalars of an event folder as TensorBoard reads them: tag, step and value a line."""

import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

curves = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
curves.Reload()
for tag in curves.Tags()["scalars"]:
    for event in curves.Scalars(tag):
        print(tag, event.step, repr(event.value), sep="\t")
