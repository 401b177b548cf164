"""Training a flow by likelihood, and by how well it tells classes apart; fitting a baseline.

- `experiment`: from an experiment's inputs to its model; what steps/train.py calls.
- `baselines`: what it calls where the model is a baseline: scikit-learn fits it.
- `directory`: an experiment's directory: its lock, and what earlier trainings left there.
- `trainer`: the epochs (`Trainer`).
- `discrimination`: the cross-entropy of the classes given a frame.
- `schedule`, `epoch`: the learning rate of each step; an epoch's sums and its record.
- `saving`: when its state is saved within an epoch.
- `saved_state`: whether a trainer can go on from a file.
- `divergence`: steps that must not be taken, found on the device.
- `processes`, `launcher`: several processes that train one flow: how they communicate, how they start and fail.
- `interruption`: what Ctrl-C, SIGTERM and SIGUSR1 do.
"""
