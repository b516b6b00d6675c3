"""A training run: `train.Trainer` is the loop, `learner.Learner` one step of it, the rest what it is handed."""
