"""A recording and a trained model make an answer.

- `carry`: a model in one directory that can be copied anywhere (`open_model`, `write_model`).
- `card`: what is said of it there: training data, figures, warnings, licence.
- `inputs`: what is to be identified: files, directories, lists, data directories.
- `recording`: a recording as the model hears it, with the options of its features (`Listener`).
- `answer`: what is said of a recording, and how it is decided (`Answer`, `Decider`).
- `identifier`: all of it together (`load`, `Identifier`).
- `added_class`: a class added to a trained flow: its mean, and a calibration with it.
- `formats`: answers as text, JSON and CSV.
- `smoothing`: which class speaks when, by the most probable path of a Markov chain.
- `windows`: what is spoken when in a long recording (`Timeline`, its segments and windows).
- `timelines`: timelines as text, JSON, CSV, RTTM and TextGrid.
"""
