"""Training a flow by maximum likelihood.

- `experiment`: an experiment's inputs, and the model that is made from them.
- `directory`: an experiment's directory: who trains in it, and what earlier trainings left there.
- `trainer`: the epochs (`Trainer`).
- `schedule`, `epoch`: the learning rate of each step, and what is counted and told of an epoch.
- `divergence`: steps that must not be taken, found on the device.
- `processes`, `launcher`: several processes that train one flow: what they tell each other, how they start and end.
- `interruption`: the end of a training that was told to end.
"""
