"""The parts of scripts/train_demo_model.py and scripts/score_demo_model.py, one question per file."""
