"""Results of all experiments as tables and pages; knows neither models nor data.

- `results`: everything that was computed, collected from exp/ (`collect`).
- `tables`, `decision_tables`, `baseline_tables`, `openset_tables`: the tables of an experiment, as text. A new one goes
  here, and into `contents`.
- `reference`: published figures beside ours.
- `contents`: what every form of the report says, in its order.
- `markdown`, `html`: RESULTS.md, the terminal's table, report.html.
"""
