"""Figures for papers and reports, as PNG and PDF; they know neither models nor data.

- `style`: type, colours, markers, and files with the same bytes each time.
- `training`: training curves.
- `latents`: first two latent dims, t-SNE, histograms.
- `decisions`: confusion, log-likelihood ratios, accuracy against duration. A new plot goes beside these.
"""
