"""Figures for papers and reports, as PNG and PDF; they know neither models nor data.

- `style`: type, colours, markers, and files with the same bytes each time.
- `fonts`: installed fonts for labels in other scripts than Latin, Greek and Cyrillic.
- `training`: training curves.
- `latents`: first two and most discriminative latent dims, t-SNE, histograms.
- `changes`: differences between two runs, with their intervals.
- `voices`: accuracy and bits on new voices against the number of voices in training.
- `openset`: who is rejected as unknown.
- `timeline`: what is spoken when in a recording, over its spectrogram.
- `confusion`: which class each language was recognised as.
- `decisions`: log-likelihood ratios, accuracy by duration. A new plot goes beside these.
- `calibration`: reliability, normalized Bayes error, Tippett and DET curves.
"""
