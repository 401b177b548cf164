"""Training a flow by maximum likelihood.

- `experiment`: an experiment's inputs, and what its training writes.
- `trainer`: the epochs (`Trainer`).
- `divergence`: steps that must not be taken, found on the device.
- `processes`, `launcher`: several processes that train one flow: what they tell each other, how they start and end.
"""
